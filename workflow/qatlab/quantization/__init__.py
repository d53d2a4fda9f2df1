"""Embedding quantization, with one definition of every grid for training and evaluation, and for NumPy and torch."""

import importlib
from typing import Any

from qatlab.quantization.grids import dequantize_embeddings, quantize_embeddings
from qatlab.quantization.precisions import PRECISIONS, bytes_per_embedding
from qatlab.quantization.ranges import (
    FixedRange,
    MinMaxRange,
    PercentileRange,
    QuantileRange,
    Range,
    RunningQuantileRange,
    RunningRange,
    SymmetricRange,
)

__all__ = [
    "PRECISIONS",
    "Clipped",
    "FixedRange",
    "Identity",
    "LearnedStep",
    "LearnedStepSize",
    "MinMaxRange",
    "PercentileRange",
    "QuantileRange",
    "Range",
    "RunningQuantileRange",
    "RunningRange",
    "SymmetricRange",
    "Tanh",
    "bytes_per_embedding",
    "dequantize_embeddings",
    "fake_quantize",
    "quantize_embeddings",
]
# These names need torch; they are imported on first use, so that scoring does not pay for the import of torch.
_WITH_TORCH = {
    "Clipped": "estimators",
    "Identity": "estimators",
    "LearnedStep": "estimators",
    "LearnedStepSize": "estimators",
    "Tanh": "estimators",
    "fake_quantize": "estimators",
}


def __getattr__(name: str) -> Any:
    if name in _WITH_TORCH:
        return getattr(importlib.import_module(f"qatlab.quantization.{_WITH_TORCH[name]}"), name)
    raise AttributeError(f"module 'qatlab.quantization' has no attribute '{name}'")
