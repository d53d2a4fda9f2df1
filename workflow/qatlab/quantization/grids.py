"""The grids: float32 → codes → float32, the same bits from NumPy and from torch.

int8 and uint8 codes are those of sentence-transformers' `quantize_embeddings` with the same ranges: 255 steps between
a dimension's minimum and maximum, rounded down; int8 is uint8 less 128. int4 is 16 equal cells over the range, −8 to 7,
two to a byte, the first dimension in the low half (as ONNX packs INT4). Values outside the range clip to its ends.
binary is one bit a dimension, 1 where the value is above 0, eight to a byte, less 128; ubinary is the same without.
float16, bfloat16 and float8_e4m3 (no infinities: OCP's E4M3, `torch.float8_e4m3fn`) round to the nearest, ties to even,
and clip at their largest value.

A code's value is the middle of its cell: the rounding down costs half a step otherwise.
"""

from types import ModuleType
from typing import Any

import numpy as np

from qatlab.quantization import numpy_grid
from qatlab.quantization.backend import is_torch
from qatlab.quantization.precisions import PRECISIONS, RANGED, STEPS, check_dimension, check_precision
from qatlab.quantization.ranges import Range, as_range

__all__ = ["PRECISIONS", "dequantize_embeddings", "quantize_embeddings"]


def quantize_embeddings(embeddings: Any, precision: str, ranges: Any = None) -> Any:
    """Codes of embeddings.

    Args:
        embeddings: (n, dim) floats, NumPy or torch; what is not float32 is converted first.
        precision: one of PRECISIONS.
        ranges: for int8, uint8 and int4: a fitted range, or an array (2, dim) of minima and maxima.

    Returns:
        NumPy for NumPy, torch for torch (on its device): (n, dim) of the precision's own type (`ml_dtypes` for
        bfloat16 and float8_e4m3 in NumPy), (n, dim / 2) uint8 for int4, (n, ceil(dim / 8)) int8 / uint8 for
        binary / ubinary. NumPy arrays are worked on in blocks: memory beyond the result is about a megabyte.

    Raises:
        ValueError: for an unknown precision, NaN, a missing or unfitted range, a range of another dimension,
            int4 with an odd dimension.
    """
    check_precision(precision)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must have shape (n, dim), not {tuple(embeddings.shape)}")
    check_dimension(precision, embeddings.shape[1])
    low, step = low_and_step(ranges, precision, embeddings.shape[1], embeddings)
    return _module(embeddings).encode(embeddings, precision, low, step)


def dequantize_embeddings(codes: Any, precision: str, ranges: Any = None, dim: int | None = None) -> Any:
    """float32 embeddings of codes: the middle of each code's cell; −1 and +1 for bits.

    Args:
        codes: what `quantize_embeddings` returned.
        ranges: the same range, for int8, uint8 and int4.
        dim: the number of dimensions, for packed bits whose last byte is padded; by default eight a byte.

    Returns:
        (n, dim) float32.
    """
    check_precision(precision)
    dims = codes.shape[1] * 2 if precision == "int4" else codes.shape[1]
    low, step = low_and_step(ranges, precision, dims, codes)
    return _module(codes).decode(codes, precision, low, step, dim)


def low_and_step(ranges: Any, precision: str, dim: int, like: Any) -> tuple[Any, Any]:
    """(low, step) of an integer grid, float32 (dim,), in the library and on the device of `like`; (None, None) for others.

    A dimension whose minimum is its maximum has step 1: all its values share a code.
    """
    if precision not in RANGED:
        return None, None
    low, high = required(ranges, precision).bounds(dim)
    if is_torch(like):
        import torch

        low, high = (torch.as_tensor(bound, dtype=torch.float32, device=like.device) for bound in (low, high))
        width = (high - low) / STEPS[precision]
        return low, torch.where(width > 0, width, 1.0)
    low, high = (np.asarray(_on_host(bound), dtype=np.float32) for bound in (low, high))
    step = (high - low) / np.float32(STEPS[precision])
    return low, np.where(step > 0, step, np.float32(1))


def required(ranges: Any, precision: str) -> Range:
    """The range, or a ValueError that asks for one."""
    if ranges is None:
        raise ValueError(f"{precision} needs ranges=MinMaxRange().fit(embeddings)")
    return as_range(ranges)


def _on_host(bound: Any) -> Any:
    return bound.detach().cpu().numpy() if is_torch(bound) else bound


def _module(values: Any) -> ModuleType:
    if is_torch(values):
        from qatlab.quantization import torch_grid

        return torch_grid
    return numpy_grid
