"""Configuration of a study and of each of its runs, which combines all other sections."""
