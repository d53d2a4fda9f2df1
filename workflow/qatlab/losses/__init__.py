"""Quantization-aware loss for embeddings, which works with every trainer of Sentence Transformers."""

from qatlab.losses.callback import QuantizationAwareCallback
from qatlab.losses.quantization_aware import QuantizationAwareLoss

__all__ = ["QuantizationAwareCallback", "QuantizationAwareLoss"]
