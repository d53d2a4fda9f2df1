"""Causal language models, trained and loaded by Transformers, and evaluated by translation and by bits per byte of text."""
