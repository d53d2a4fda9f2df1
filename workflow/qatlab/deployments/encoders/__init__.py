"""Encoders, which compute embeddings of texts with the files of a backend: one module per runtime."""
