"""What writes the files of each backend, and what compares them with the model that they are made from."""
