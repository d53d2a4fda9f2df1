"""Model cards: what a folder with a model says of itself, as README.md."""
