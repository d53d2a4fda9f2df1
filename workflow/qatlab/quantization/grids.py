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

NumPy works in blocks of rows, which keep memory beyond the result below two megabytes; `torch_grid` does the same in torch.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from qatlab.quantization.precisions import (
    CELLS,
    LARGEST,
    PADDED,
    PER_BYTE,
    PRECISIONS,
    QUANTILE,
    RANGED,
    STEPS,
    NotFiniteError,
    bytes_per_embedding,
    check_dimension,
    check_precision,
    is_binary,
    is_torch,
    on_host,
)
from qatlab.quantization.ranges import QuantileRange, suited

__all__ = ["PRECISIONS", "dequantize_embeddings", "quantize_embeddings", "queries_for_codes"]


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


LARGEST_INT8 = 127


def queries_for_codes(queries: np.ndarray, ranges: Any) -> np.ndarray:
    """Quantize queries so that their inner products with int8 codes rank documents as those with the decoded documents do.

    A document decodes to x_j ≈ middle_j + step_j · code_j, so that its product with a query q is a constant of the query plus the sum
    of q_j · step_j · code_j. These weights are scaled to ±127 per query and rounded. A query's own codes would not do: they are not
    weighted by the steps, which differ between dimensions.

    Args:
        queries: (n, dim) float32.
        ranges: The range of the documents' int8 codes, fitted, or an array (2, dim) of minima and maxima.

    Returns:
        (n, dim) int8 from −127 to 127. A dimension whose minimum is its maximum, in which all documents have the same code, has
        weight 0.

    Raises:
        ValueError: For NaN or infinite queries, or a range that is not fitted or of another dimension.
    """
    if not np.isfinite(queries).all():
        raise NotFiniteError("queries contain NaN or Inf, which have no codes")
    low, high = suited(ranges, "int8").bounds(queries.shape[1])
    steps = (np.asarray(on_host(high), dtype=np.float64) - np.asarray(on_host(low), dtype=np.float64)) / STEPS["int8"]
    weights = queries.astype(np.float64) * steps
    largest = np.abs(weights).max(axis=1, keepdims=True)
    scaled = weights / np.where(largest > 0, largest, 1) * LARGEST_INT8
    codes: np.ndarray = np.rint(scaled).astype(np.int8)
    return codes


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
    """Return the module whose `encode`, `decode` and `integers` are for the library of an array: this one for NumPy."""
    if is_torch(values):
        from qatlab.quantization import torch_grid

        return torch_grid
    return sys.modules[__name__]


FLOAT_TYPES = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
}
VALUES_AT_ONCE = 1 << 17  # 512 KB of float32, so that a block stays in the CPU's cache through all its steps
# Bits are computed so fast that, with smaller blocks, the threads would mostly wait for the interpreter lock.
BITS_AT_ONCE = 1 << 19
# NumPy releases the interpreter lock while it computes. On two cores, two threads took 0.7 of the time of one, four 0.85.
THREADS = 2
NAN = "embeddings contain NaN, for which no grid has a code"


# The bit whose flip turns the number of a cell, counted from 0, into a code in two's complement.
SIGN_BITS = {"int8": 128, "int4": 8, "int2": 2, "int2_quantile": 2}


def encode(values: np.ndarray, precision: str, grid: Any) -> np.ndarray:
    """Quantize values to codes.

    Args:
        values: (n, dim) floats.
        precision: The precision of the codes.
        grid: The result of `fitted_grid`.

    Returns:
        Codes with the shape and dtype that `quantize_embeddings` documents.
    """
    n, dim = values.shape
    if precision in FLOAT_TYPES:
        codes = np.empty((n, dim), FLOAT_TYPES[precision])
    else:
        codes = np.empty((n, bytes_per_embedding(precision, dim)), np.uint8)
    fill = partial(_fill, precision=precision, grid=grid)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, np.array_split(codes, THREADS), np.array_split(values, THREADS)))
    return codes.view(np.int8) if precision in ("int8", "binary") else codes


def decode(codes: np.ndarray, precision: str, grid: Any, dim: int) -> np.ndarray:
    """Decode codes to (n, dim) float32 values.

    Args:
        codes: Codes that `encode` returned.
        precision: The precision of the codes.
        grid: The result of `fitted_grid`.
        dim: Number of dimensions.
    """
    if precision in FLOAT_TYPES:
        return codes.astype(np.float32)
    if is_binary(precision):
        packed = codes.view(np.uint8) ^ np.uint8(128) if precision == "binary" else codes
        return np.unpackbits(packed, axis=1, count=dim).astype(np.float32) * 2 - 1
    values = np.empty((len(codes), dim), np.float32)
    for block in _blocks(values):
        cells = cells_of(codes[block], precision, dim)
        if precision in QUANTILE:
            values[block] = np.take_along_axis(grid[1], cells.astype(np.intp), axis=0)
        else:
            low, step = grid
            np.add(cells, np.float32(0.5), out=values[block])
            values[block] *= step
            values[block] += low
    return values


def integers(codes: np.ndarray, precision: str, dim: int) -> np.ndarray:
    """Unpack codes of an integer grid to one number per dimension, (n, dim) int8, or uint8 for uint8.

    Args:
        codes: Codes that `encode` returned.
        precision: The precision of the codes.
        dim: Number of dimensions.
    """
    if precision not in PER_BYTE:
        return codes
    return cells_of(codes, precision, dim).view(np.int8) - np.int8(CELLS[precision] // 2)


def cells_of(codes: np.ndarray, precision: str, dim: int) -> np.ndarray:
    """Return the cell of each code of an integer grid, counted from 0: (n, dim) uint8.

    Args:
        codes: Codes that `encode` returned.
        precision: The precision of the codes.
        dim: Number of dimensions.

    Raises:
        ValueError: If a byte is larger than any combination of codes.
    """
    if precision not in PER_BYTE:
        return codes.view(np.uint8) ^ np.uint8(SIGN_BITS.get(precision, 0))
    table = cells_by_byte(precision)
    if len(table) < 256 and codes.size and codes.max() >= len(table):
        raise ValueError(f"a byte of {precision} codes is at most {len(table) - 1}, not {codes.max()}")
    # take() is several times as fast as indexing.
    return table.take(codes, axis=0).reshape(len(codes), codes.shape[1] * PER_BYTE[precision])[:, :dim]


@cache
def cells_by_byte(precision: str) -> np.ndarray:
    """Return the cells that each byte packs, in the order of dimensions: (bytes, dimensions per byte) uint8."""
    digits = np.arange(CELLS[precision] ** PER_BYTE[precision])[:, None] // place_values(precision) % CELLS[precision]
    return digits.astype(np.uint8) ^ np.uint8(SIGN_BITS.get(precision, 0))


def place_values(precision: str) -> np.ndarray:
    """Return the place value of each dimension in a packed byte: 1, 16 for int4; 1, 4, 16, 64 for int2; 1, 3, 9, 27, 81 for ternary."""
    return CELLS[precision] ** np.arange(PER_BYTE[precision])


def _blocks(values: np.ndarray, size: int | None = None) -> Iterator[slice]:
    """Return slices of the rows of (n, dim) values, each of which is processed at once: `size` values, or VALUES_AT_ONCE."""
    at_once = max(1, (size or VALUES_AT_ONCE) // max(1, values.shape[1]))
    return (slice(start, start + at_once) for start in range(0, len(values), at_once))


def _fill(codes: np.ndarray, values: np.ndarray, precision: str, grid: Any) -> None:
    """Write the codes of `values` to `codes`, block by block."""
    for block in _blocks(values, BITS_AT_ONCE if is_binary(precision) else None):
        rows = _checked(values[block])
        if precision in FLOAT_TYPES:
            codes[block] = rows.clip(-LARGEST[precision], LARGEST[precision]) if precision in LARGEST else rows
        elif precision == "ubinary":
            codes[block] = _packed_bits(rows > 0)
        elif precision == "binary":
            codes[block] = _packed_bits(rows > 0) ^ np.uint8(128)  # subtracts 128, in two's complement
        else:
            cells = _cells_between(rows, grid[0]) if precision in QUANTILE else _equal_cells(rows, grid, precision)
            cells ^= np.uint8(SIGN_BITS.get(precision, 0))
            codes[block] = _packed(cells, precision) if precision in PER_BYTE else cells


def _checked(values: np.ndarray) -> np.ndarray:
    """Return values as float32, possibly the same array, which must not be modified; raise NotFiniteError for NaN."""
    rows = np.asarray(values, dtype=np.float32)
    if rows.size and np.isnan(rows.min()):
        raise NotFiniteError(NAN)
    return rows


def _packed_bits(bits: np.ndarray) -> np.ndarray:
    """Pack eight bits into each byte of a row; the last byte is padded with zeros."""
    n, dim = bits.shape
    if dim % 8:
        return np.packbits(bits, axis=1)
    return np.packbits(bits.reshape(-1)).reshape(n, dim // 8)  # faster than row by row, with the same bytes


def _packed(cells: np.ndarray, precision: str) -> np.ndarray:
    """Pack several cells into each byte of a row; the last byte is padded with zeros."""
    places = place_values(precision).astype(np.uint8)
    packed = np.zeros((len(cells), bytes_per_embedding(precision, cells.shape[1])), np.uint8)
    for i, place in enumerate(places):
        digits = cells[:, i :: len(places)]
        packed[:, : digits.shape[1]] += digits * place
    return packed


def _equal_cells(rows: np.ndarray, grid: Any, precision: str) -> np.ndarray:
    """Return the cell of each value, counted from 0."""
    low, step = grid
    with np.errstate(over="ignore"):  # a value that overflows to infinity is clipped below
        buffer = rows - low
        buffer /= step
    np.clip(buffer, 0, CELLS[precision] - 1, out=buffer)
    return buffer.astype(np.uint8)  # truncation rounds down, because no value is negative


def _cells_between(rows: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Return the number of borders below each value, which is its cell."""
    cells = (rows > borders[0]).view(np.uint8)
    for border in borders[1:]:
        cells += rows > border
    return cells
