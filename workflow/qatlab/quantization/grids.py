"""The grids: float32 → codes → float32, the same bits from NumPy and from torch.

int8 and uint8 codes are those of sentence-transformers' `quantize_embeddings` with the same ranges: 255 steps between
a dimension's minimum and maximum, rounded down; int8 is uint8 less 128. int4 is 16 equal cells over the range, −8 to 7,
two to a byte, the first dimension in the low half (as ONNX packs INT4). int2 is 4 equal cells, −2 to 1, four to a byte, the
first dimension in the lowest two bits. Values outside the range clip to its ends.
int2_quantile has the codes and the packing of int2, but its cells lie between the quartiles of each dimension, so that each holds a
quarter of the embeddings that they are fitted on. ternary has 3 cells between tertiles, −1 to 1, five to a byte (3 ** 5 = 243), which
is 1.6 bits per dimension: the byte is the sum of (code + 1) · 3 ** i over its five dimensions, and the last one is padded with −1.
A value's cell is the number of borders below it.
binary is one bit a dimension, 1 where the value is above 0, eight to a byte, less 128; ubinary is the same without.
float16, bfloat16 and float8_e4m3 (no infinities: OCP's E4M3, `torch.float8_e4m3fn`) round to the nearest, ties to even,
and clip at their largest value.

A code's value is the middle of its cell: the rounding down costs half a step otherwise. Between quantiles it is the median of the
cell's embeddings.
"""

from types import ModuleType
from typing import Any

import numpy as np

from qatlab.quantization import numpy_grid
from qatlab.quantization.backend import is_torch, on_host
from qatlab.quantization.precisions import (
    CELLS,
    PADDED,
    PER_BYTE,
    PRECISIONS,
    QUANTILE,
    RANGED,
    STEPS,
    check_dimension,
    check_precision,
)
from qatlab.quantization.ranges import QuantileRange, suited

__all__ = ["PRECISIONS", "dequantize_embeddings", "quantize_embeddings"]


def quantize_embeddings(embeddings: Any, precision: str, ranges: Any = None) -> Any:
    """Codes of embeddings.

    Args:
        embeddings: (n, dim) floats, NumPy or torch; what is not float32 is converted first.
        precision: one of PRECISIONS.
        ranges: for int8, uint8, int4 and int2: a fitted range, or an array (2, dim) of minima and maxima; for int2_quantile and
            ternary: a fitted QuantileRange.

    Returns:
        NumPy for NumPy, torch for torch (on its device): (n, dim) of the precision's own type (`ml_dtypes` for
        bfloat16 and float8_e4m3 in NumPy); uint8 for what is packed: (n, dim / 2) for int4, (n, dim / 4) for int2 and
        int2_quantile, (n, ceil(dim / 5)) for ternary; (n, ceil(dim / 8)) int8 / uint8 for binary / ubinary. NumPy arrays
        are worked on in blocks: memory beyond the result is about a megabyte.

    Raises:
        ValueError: for an unknown precision, NaN, a missing or unfitted range, a range of another dimension or
            of the other kind, a dimension that int4 (2), int2 and int2_quantile (4) cannot pack.
    """
    check_precision(precision)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must have shape (n, dim), not {tuple(embeddings.shape)}")
    check_dimension(precision, embeddings.shape[1])
    grid = fitted_grid(ranges, precision, embeddings.shape[1], embeddings)
    return _module(embeddings).encode(embeddings, precision, grid)


def dequantize_embeddings(codes: Any, precision: str, ranges: Any = None, dim: int | None = None) -> Any:
    """float32 embeddings of codes: the middle or the median of each code's cell; −1 and +1 for bits.

    Args:
        codes: what `quantize_embeddings` returned.
        ranges: the same range, for int8, uint8, int4, int2, int2_quantile and ternary.
        dim: the number of dimensions, for packed bits and ternary codes whose last byte is padded; by default eight, or five,
            per byte.

    Returns:
        (n, dim) float32.

    Raises:
        ValueError: as for `quantize_embeddings`, or for ternary codes that cannot have so many dimensions.
    """
    check_precision(precision)
    dims = _dimensions(codes, precision, dim, ranges)
    grid = fitted_grid(ranges, precision, dims, codes)
    return _module(codes).decode(codes, precision, grid, dims)


def integer_codes(codes: Any, precision: str, dim: int) -> Any:
    """Codes of an integer grid as numbers, (n, dim): int4 from −8, int2 from −2, ternary from −1; int8 and uint8 as they are.

    Args:
        codes: what `quantize_embeddings` returned, NumPy or torch.
        dim: the number of dimensions.
    """
    return _module(codes).integers(codes, precision, dim)


def fitted_grid(ranges: Any, precision: str, dim: int, like: Any) -> tuple[Any, Any] | None:
    """The numbers that lay out a ranged grid, float32, in the library and on the device of `like`; None for other grids.

    Returns:
        (low, step), each (dim,), of equal cells: a dimension whose minimum is its maximum has step 1, so that all its values
        share a code. (borders, values), (cells − 1, dim) and (cells, dim), of cells between quantiles.
    """
    if precision not in RANGED:
        return None
    fitted = suited(ranges, precision)
    if precision in QUANTILE:
        assert isinstance(fitted, QuantileRange)
        return _in_library_of(like, *fitted.cells(CELLS[precision], dim))
    low, high = _in_library_of(like, *fitted.bounds(dim))
    if is_torch(like):
        import torch

        width = (high - low) / STEPS[precision]
        return low, torch.where(width > 0, width, 1.0)
    step = (high - low) / np.float32(STEPS[precision])
    return low, np.where(step > 0, step, np.float32(1))


def _dimensions(codes: Any, precision: str, dim: int | None, ranges: Any) -> int:
    """How many dimensions codes have; raises ValueError where ternary ones cannot have so many."""
    together = PER_BYTE.get(precision, 1)
    most: int = codes.shape[1] * together
    if dim is None and precision == "ternary" and getattr(ranges, "low", None) is not None:
        fitted = len(ranges.low)
        if most - together < fitted < most:
            raise ValueError(f"the last byte of these codes is padded; give dim={fitted}")
    if dim is None or precision not in PADDED:
        return most
    if precision == "ternary" and not most - together < dim <= most:
        raise ValueError(
            f"{codes.shape[1]} bytes of ternary codes hold {most - together + 1} to {most} dimensions, not {dim}"
        )
    return dim


def _in_library_of(like: Any, *arrays: Any) -> tuple[Any, Any]:
    if is_torch(like):
        import torch

        first, second = (torch.as_tensor(array, dtype=torch.float32, device=like.device) for array in arrays)
        return first, second
    on_cpu, other = (np.asarray(on_host(array), dtype=np.float32) for array in arrays)
    return on_cpu, other


def _module(values: Any) -> ModuleType:
    if is_torch(values):
        from qatlab.quantization import torch_grid

        return torch_grid
    return numpy_grid
