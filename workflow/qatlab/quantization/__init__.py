"""Embedding quantization: one definition of every grid, for training and for evaluation, for NumPy and for torch."""

from typing import Any

from qatlab.quantization.grids import PRECISIONS, dequantize_embeddings, quantize_embeddings
from qatlab.quantization.ranges import MinMaxRange

__all__ = ["PRECISIONS", "MinMaxRange", "dequantize_embeddings", "fake_quantize", "quantize_embeddings"]


def __getattr__(name: str) -> Any:
    if name == "fake_quantize":  # needs torch, which scoring must not pay for
        from qatlab.quantization.fake import fake_quantize

        return fake_quantize
    raise AttributeError(name)
