"""Codes and values of the grids in NumPy, in blocks of rows: memory beyond the result stays below a megabyte or two."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from qatlab.quantization.backend import NotFiniteError
from qatlab.quantization.precisions import CELLS, LARGEST, is_binary

FLOAT_TYPES = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
}
VALUES_AT_ONCE = 1 << 17  # 512 KB of float32: a block stays in the processor's cache through all its steps
THREADS = 2  # NumPy lets go of Python's lock while it computes; on two cores two took 0.7 of one's time, four 0.85
NAN = "embeddings hold NaN, which no grid has a code for"


def encode(values: np.ndarray, precision: str, low: Any, step: Any) -> np.ndarray:
    """Codes of (n, dim) values; `low` and `step`, float32 (dim,), for integer grids."""
    n, dim = values.shape
    if precision in FLOAT_TYPES:
        codes = np.empty((n, dim), FLOAT_TYPES[precision])
    elif is_binary(precision):
        codes = np.empty((n, (dim + 7) // 8), np.uint8)
    else:
        codes = np.empty((n, dim // 2 if precision == "int4" else dim), np.uint8)
    fill = partial(_fill, precision=precision, low=low, step=step)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, np.array_split(codes, THREADS), np.array_split(values, THREADS)))
    return codes.view(np.int8) if precision in ("int8", "binary") else codes


def decode(codes: np.ndarray, precision: str, low: Any, step: Any, dim: int | None) -> np.ndarray:
    """float32 values of codes; `dim` cuts off the padding of packed bits."""
    if precision in FLOAT_TYPES:
        return codes.astype(np.float32)
    if is_binary(precision):
        packed = codes.view(np.uint8) ^ np.uint8(128) if precision == "binary" else codes
        return np.unpackbits(packed, axis=1, count=dim).astype(np.float32) * 2 - 1
    if precision == "int8":
        cells = codes.view(np.uint8) ^ np.uint8(128)
    elif precision == "int4":
        cells = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1) ^ np.uint8(8)
    else:
        cells = codes
    values = cells.astype(np.float32)
    values += np.float32(0.5)
    values *= step
    values += low
    return values


def _fill(codes: np.ndarray, values: np.ndarray, precision: str, low: Any, step: Any) -> None:
    """Write the codes of the values, block by block."""
    at_once = max(1, VALUES_AT_ONCE // max(1, values.shape[1]))
    for start in range(0, len(values), at_once):
        block = slice(start, start + at_once)
        rows = _checked(values[block])
        if precision in FLOAT_TYPES:
            codes[block] = rows.clip(-LARGEST[precision], LARGEST[precision]) if precision in LARGEST else rows
        elif is_binary(precision):
            codes[block] = _packed(rows > 0)
        else:
            codes[block] = _cells(rows, low, step, precision)
        if precision in ("int8", "binary"):
            codes[block] ^= np.uint8(128)  # less 128, in two's complement


def _checked(values: np.ndarray) -> np.ndarray:
    """The values in float32, not to be written to; raises ValueError for NaN."""
    rows = np.asarray(values, dtype=np.float32)
    if rows.size and np.isnan(rows.min()):
        raise NotFiniteError(NAN)
    return rows


def _packed(bits: np.ndarray) -> np.ndarray:
    """Rows of bits, eight to a byte, the last byte filled up with zeros."""
    n, dim = bits.shape
    if dim % 8:
        return np.packbits(bits, axis=1)
    return np.packbits(bits.reshape(-1)).reshape(n, dim // 8)  # the same bytes: in one go, not row by row


def _cells(rows: np.ndarray, low: np.ndarray, step: np.ndarray, precision: str) -> np.ndarray:
    """The cell that each value falls into, from 0."""
    with np.errstate(over="ignore"):  # to infinity, which clips
        buffer = rows - low
        buffer /= step
    np.clip(buffer, 0, CELLS[precision] - 1, out=buffer)
    cells = buffer.astype(np.uint8)  # cutting decimals off is rounding down, for what is not negative
    if precision != "int4":
        return cells
    signed = cells ^ np.uint8(8)  # less 8, in two's complement of four bits
    return signed[:, 0::2] | signed[:, 1::2] << np.uint8(4)
