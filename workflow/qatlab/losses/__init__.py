"""Quantization in the loss, usable in anyone's Sentence Transformers trainer."""

from qatlab.losses.callback import QuantizationAwareCallback
from qatlab.losses.quantization_aware import QuantizationAwareLoss

__all__ = ["QuantizationAwareCallback", "QuantizationAwareLoss"]
