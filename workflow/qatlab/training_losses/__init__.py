"""Losses for embedding models that a method selects by name, and to which embedding quantization may be added."""
