"""The configuration of a study and of each of its runs, made of every other section."""
