"""Builders of the files of each backend, and checks that compare these files with the model that they are made from."""
