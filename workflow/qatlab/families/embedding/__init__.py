"""Embedding models, trained and loaded by Sentence Transformers."""
