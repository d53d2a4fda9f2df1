"""Losses, usable in anyone's Sentence Transformers trainer."""

from qatlab.losses.quantization_aware import QuantizationAwareLoss

__all__ = ["QuantizationAwareLoss"]
