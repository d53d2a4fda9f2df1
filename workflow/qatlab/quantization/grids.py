"""Quantization of embeddings to codes and back to float32, with bit-identical results in NumPy and torch.

* int8 and uint8: the codes are those of sentence-transformers' `quantize_embeddings` with the same ranges, with 255 steps between
  the minimum and the maximum of a dimension, rounded down. int8 codes are the uint8 codes minus 128.
* int4: 16 cells of equal width over the range, with codes from −8 to 7. Two codes share a byte, with the first dimension in the
  low half (as ONNX packs INT4).
* int2: 4 cells of equal width, with codes from −2 to 1. Four codes share a byte, with the first dimension in the lowest two bits.
* int2_quantile: the codes and the packing of int2, but the cells lie between the quartiles of each dimension, so that each cell
  contains a quarter of the embeddings that they are fitted on.
* ternary: 3 cells between tertiles, with codes from −1 to 1. Five codes share a byte (3 ** 5 = 243), which is 1.6 bits per
  dimension: the byte is the sum of (code + 1) · 3 ** i over its five dimensions, and the last byte is padded with −1.
* binary and ubinary: one bit per dimension, 1 where the value is above 0. Eight bits share a byte; ubinary stores the byte as it
  is, and binary stores it minus 128.
* float16, bfloat16 and float8_e4m3 (without infinities: OCP's E4M3, `torch.float8_e4m3fn`): values are rounded to the nearest,
  ties to even, and clipped at the largest value of the format.

Values outside the range of equal cells are clipped to its ends. Between quantiles, the cell of a value is the number of borders
below it.

A code decodes to the middle of its cell, because rounding down would otherwise cost half a step. Between quantiles it decodes to the
median of the embeddings in its cell.
"""

from types import ModuleType
from typing import Any

import numpy as np

from qatlab.quantization import numpy_grid
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
    is_torch,
    on_host,
)
from qatlab.quantization.ranges import QuantileRange, suited

__all__ = ["PRECISIONS", "dequantize_embeddings", "quantize_embeddings"]


def quantize_embeddings(embeddings: Any, precision: str, ranges: Any = None) -> Any:
    """Quantize embeddings to codes of a precision.

    Args:
        embeddings: (n, dim) floats, NumPy or torch; other types than float32 are converted to float32 first.
        precision: One of PRECISIONS.
        ranges: For int8, uint8, int4 and int2, a fitted range or an array (2, dim) of minima and maxima; for int2_quantile and
            ternary, a fitted QuantileRange. Other precisions ignore it.

    Returns:
        An array of the library of `embeddings`, in torch on the same device: (n, dim) of the precision's own type (`ml_dtypes` for
        bfloat16 and float8_e4m3 in NumPy), or packed codes in uint8: (n, dim / 2) for int4, (n, dim / 4) for int2 and
        int2_quantile, (n, ceil(dim / 5)) for ternary. binary and ubinary are (n, ceil(dim / 8)) int8 and uint8. NumPy arrays are
        processed in blocks, so that memory beyond the result is about a megabyte.

    Raises:
        ValueError: For an unknown precision; NaN; a range that is missing, not fitted, of another dimension or of the wrong kind;
            or a dimension that is not a multiple of 2 for int4, or of 4 for int2 and int2_quantile.
    """
    check_precision(precision)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must have shape (n, dim), not {tuple(embeddings.shape)}")
    check_dimension(precision, embeddings.shape[1])
    grid = fitted_grid(ranges, precision, embeddings.shape[1], embeddings)
    return _module(embeddings).encode(embeddings, precision, grid)


def dequantize_embeddings(codes: Any, precision: str, ranges: Any = None, dim: int | None = None) -> Any:
    """Decode codes to float32 embeddings: the middle or the median of each code's cell, and −1 and +1 for bits.

    Args:
        codes: Codes that `quantize_embeddings` returned.
        precision: The precision of the codes.
        ranges: The range that the codes were computed with, for int8, uint8, int4, int2, int2_quantile and ternary.
        dim: Number of dimensions of packed bits and ternary codes, whose last byte may be padded; by default eight or five per
            byte.

    Returns:
        (n, dim) float32.

    Raises:
        ValueError: As for `quantize_embeddings`, or if ternary codes cannot have `dim` dimensions.
    """
    check_precision(precision)
    dims = _dimensions(codes, precision, dim, ranges)
    grid = fitted_grid(ranges, precision, dims, codes)
    return _module(codes).decode(codes, precision, grid, dims)


def integer_codes(codes: Any, precision: str, dim: int) -> Any:
    """Unpack codes of an integer grid to one number per dimension: int4 from −8, int2 from −2, ternary from −1.

    Args:
        codes: Codes that `quantize_embeddings` returned, NumPy or torch.
        precision: The precision of the codes; those of int8 and uint8 are returned unchanged.
        dim: Number of dimensions.

    Returns:
        (n, dim) int8, or uint8 for uint8.
    """
    return _module(codes).integers(codes, precision, dim)


def fitted_grid(ranges: Any, precision: str, dim: int, like: Any) -> tuple[Any, Any] | None:
    """Return the arrays that define the grid of a precision with ranges.

    Args:
        ranges: A fitted range, or an array (2, dim) of minima and maxima.
        precision: The precision of the grid.
        dim: Number of dimensions.
        like: An array whose library and device the result has.

    Returns:
        Two float32 arrays, or None for precisions without ranges. Of equal cells, (low, step), each (dim,): a dimension whose
        minimum is its maximum has step 1, so that all its values share a code. Of cells between quantiles, (borders, values),
        (cells − 1, dim) and (cells, dim).
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
    """Return the number of dimensions of codes; raise ValueError if ternary codes cannot have `dim` of them."""
    per_byte = PER_BYTE.get(precision, 1)
    most: int = codes.shape[1] * per_byte
    if dim is None and precision == "ternary" and getattr(ranges, "low", None) is not None:
        fitted = len(ranges.low)
        if most - per_byte < fitted < most:
            raise ValueError(f"the last byte of these codes is padded; give dim={fitted}")
    if dim is None or precision not in PADDED:
        return most
    if precision == "ternary" and not most - per_byte < dim <= most:
        raise ValueError(
            f"{codes.shape[1]} bytes of ternary codes hold {most - per_byte + 1} to {most} dimensions, not {dim}"
        )
    return dim


def _in_library_of(like: Any, *arrays: Any) -> tuple[Any, Any]:
    if is_torch(like):
        import torch

        first, second = (torch.as_tensor(array, dtype=torch.float32, device=like.device) for array in arrays)
        return first, second
    first_on_host, second_on_host = (np.asarray(on_host(array), dtype=np.float32) for array in arrays)
    return first_on_host, second_on_host


def _module(values: Any) -> ModuleType:
    if is_torch(values):
        from qatlab.quantization import torch_grid

        return torch_grid
    return numpy_grid
