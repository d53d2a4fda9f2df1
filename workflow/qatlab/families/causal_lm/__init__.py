"""Causal language models, trained and loaded by Transformers: translation, and bits per byte of text."""
