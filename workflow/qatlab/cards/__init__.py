"""Model cards: the README.md of a folder with a trained model."""
