"""qatlab: what quantization costs an embedding model, and which training recipe wins it back."""

__version__ = "0.1.0"
