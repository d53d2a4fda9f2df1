"""Codes and values of the grids in NumPy, in blocks of rows: memory beyond the result stays below a megabyte or two."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import ml_dtypes
import numpy as np

from qatlab.quantization.backend import NotFiniteError
from qatlab.quantization.precisions import CELLS, LARGEST, PER_BYTE, QUANTILE, bytes_per_embedding, is_binary

FLOAT_TYPES = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
}
VALUES_AT_ONCE = 1 << 17  # 512 KB of float32: a block stays in the processor's cache through all its steps
THREADS = 2  # NumPy lets go of Python's lock while it computes; on two cores two took 0.7 of one's time, four 0.85
NAN = "embeddings hold NaN, which no grid has a code for"


# The bit whose flip turns a cell, counted from 0, into a code in two's complement.
SIGN_BITS = {"int8": 128, "int4": 8, "int2": 2, "int2_quantile": 2}


def encode(values: np.ndarray, precision: str, grid: Any) -> np.ndarray:
    """Codes of (n, dim) values; `grid` is what `grids.fitted_grid` returned."""
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
    """float32 values of codes, (n, dim)."""
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
    """(n, dim) codes of an integer grid as numbers; int8, or uint8 for uint8."""
    if precision not in PER_BYTE:
        return codes
    return cells_of(codes, precision, dim).view(np.int8) - np.int8(CELLS[precision] // 2)


def cells_of(codes: np.ndarray, precision: str, dim: int) -> np.ndarray:
    """The cell of each code of an integer grid, counted from 0: (n, dim) uint8."""
    if precision not in PER_BYTE:
        return codes.view(np.uint8) ^ np.uint8(SIGN_BITS.get(precision, 0))
    table = cells_by_byte(precision)  # take() is several times as fast as indexing
    if len(table) < 256 and codes.size and codes.max() >= len(table):
        raise ValueError(f"a byte of {precision} codes is at most {len(table) - 1}, not {codes.max()}")
    return table.take(codes, axis=0).reshape(len(codes), codes.shape[1] * PER_BYTE[precision])[:, :dim]


@cache
def cells_by_byte(precision: str) -> np.ndarray:
    """The cells that each byte packs, in the order of the dimensions: (bytes, dimensions per byte) uint8."""
    digits = np.arange(CELLS[precision] ** PER_BYTE[precision])[:, None] // place_values(precision) % CELLS[precision]
    return digits.astype(np.uint8) ^ np.uint8(SIGN_BITS.get(precision, 0))


def place_values(precision: str) -> np.ndarray:
    """What one unit of each dimension adds to the byte that it shares: int4: 1, 16; int2: 1, 4, 16, 64; ternary: 1, 3, 9, 27, 81."""
    return CELLS[precision] ** np.arange(PER_BYTE[precision])


def _blocks(values: np.ndarray) -> Iterator[slice]:
    """Rows of (n, dim) values that are worked on at once."""
    at_once = max(1, VALUES_AT_ONCE // max(1, values.shape[1]))
    return (slice(start, start + at_once) for start in range(0, len(values), at_once))


def _fill(codes: np.ndarray, values: np.ndarray, precision: str, grid: Any) -> None:
    """Write the codes of the values, block by block."""
    for block in _blocks(values):
        rows = _checked(values[block])
        if precision in FLOAT_TYPES:
            codes[block] = rows.clip(-LARGEST[precision], LARGEST[precision]) if precision in LARGEST else rows
        elif precision == "ubinary":
            codes[block] = _packed_bits(rows > 0)
        elif precision == "binary":
            codes[block] = _packed_bits(rows > 0) ^ np.uint8(128)  # less 128, in two's complement
        else:
            cells = _cells_between(rows, grid[0]) if precision in QUANTILE else _equal_cells(rows, grid, precision)
            cells ^= np.uint8(SIGN_BITS.get(precision, 0))
            codes[block] = _packed(cells, precision) if precision in PER_BYTE else cells


def _checked(values: np.ndarray) -> np.ndarray:
    """The values in float32, not to be written to; raises ValueError for NaN."""
    rows = np.asarray(values, dtype=np.float32)
    if rows.size and np.isnan(rows.min()):
        raise NotFiniteError(NAN)
    return rows


def _packed_bits(bits: np.ndarray) -> np.ndarray:
    """Rows of bits, eight to a byte, the last byte filled up with zeros."""
    n, dim = bits.shape
    if dim % 8:
        return np.packbits(bits, axis=1)
    return np.packbits(bits.reshape(-1)).reshape(n, dim // 8)  # the same bytes: in one go, not row by row


def _packed(cells: np.ndarray, precision: str) -> np.ndarray:
    """Rows of cells, several to a byte, the last byte filled up with zeros."""
    places = place_values(precision).astype(np.uint8)
    packed = np.zeros((len(cells), bytes_per_embedding(precision, cells.shape[1])), np.uint8)
    for i, place in enumerate(places):
        digits = cells[:, i :: len(places)]
        packed[:, : digits.shape[1]] += digits * place
    return packed


def _equal_cells(rows: np.ndarray, grid: Any, precision: str) -> np.ndarray:
    """The cell that each value falls into, from 0."""
    low, step = grid
    with np.errstate(over="ignore"):  # to infinity, which clips
        buffer = rows - low
        buffer /= step
    np.clip(buffer, 0, CELLS[precision] - 1, out=buffer)
    return buffer.astype(np.uint8)  # cutting decimals off is rounding down, for what is not negative


def _cells_between(rows: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """The number of borders below each value."""
    cells = (rows > borders[0]).view(np.uint8)
    for border in borders[1:]:
        cells += rows > border
    return cells
