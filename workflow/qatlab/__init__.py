"""Quantization-aware training of embedding models: how much quality quantization costs, and which method recovers it."""

__version__ = "0.1.0"
