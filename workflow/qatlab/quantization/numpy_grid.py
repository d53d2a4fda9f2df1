"""Encoding and decoding of the grids in NumPy, in blocks of rows that keep memory beyond the result below two megabytes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import ml_dtypes
import numpy as np

from qatlab.quantization.precisions import (
    CELLS,
    LARGEST,
    PER_BYTE,
    QUANTILE,
    NotFiniteError,
    bytes_per_embedding,
    is_binary,
)

FLOAT_TYPES = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
}
VALUES_AT_ONCE = 1 << 17  # 512 KB of float32, so that a block stays in the CPU's cache through all its steps
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
        grid: The result of `grids.fitted_grid`.

    Returns:
        Codes with the shape and dtype that `grids.quantize_embeddings` documents.
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
        grid: The result of `grids.fitted_grid`.
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


def _blocks(values: np.ndarray) -> Iterator[slice]:
    """Return slices of the rows of (n, dim) values, each of which is processed at once."""
    at_once = max(1, VALUES_AT_ONCE // max(1, values.shape[1]))
    return (slice(start, start + at_once) for start in range(0, len(values), at_once))


def _fill(codes: np.ndarray, values: np.ndarray, precision: str, grid: Any) -> None:
    """Write the codes of `values` to `codes`, block by block."""
    for block in _blocks(values):
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
