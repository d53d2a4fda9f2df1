"""The grids: float32 → codes → float32, the same bits from NumPy and from torch.

int8 and uint8 codes are those of sentence-transformers' `quantize_embeddings` with the same ranges: 255 steps
between a dimension's minimum and maximum, rounded down; int8 is uint8 less 128. Values outside the range clip.
binary is one bit a dimension, 1 where the value is above 0, packed eight to a byte; ubinary is the same as uint8.

float8, 4-bit and the other precisions join here.
"""

from typing import Any

import numpy as np

from qatlab.quantization.backend import is_torch
from qatlab.quantization.ranges import MinMaxRange

PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")
STEPS = 255


def quantize_embeddings(embeddings: Any, precision: str, ranges: MinMaxRange | None = None) -> Any:
    """Codes of embeddings.

    Args:
        embeddings: (n, dim) floats, NumPy or torch.
        precision: one of PRECISIONS.
        ranges: a fitted range; required for int8 and uint8.

    Returns:
        (n, dim) float32, int8 or uint8, or (n, ceil(dim / 8)) int8 / uint8 for binary / ubinary; NumPy for NumPy, torch for torch.

    Raises:
        ValueError: for an unknown precision, NaN, a missing or unfitted range, or a range of another dimension.
    """
    check_precision(precision)
    check_values(embeddings)
    if precision == "float32":
        return _as_float32(embeddings)
    if precision in ("binary", "ubinary"):
        return _pack(embeddings, signed=precision == "binary")
    return _integer_codes(embeddings, precision, required(ranges, precision))


def dequantize_embeddings(codes: Any, precision: str, ranges: MinMaxRange | None = None, dim: int | None = None) -> Any:
    """float32 embeddings of codes: the middle of each code's cell; −1 and +1 for bits.

    Args:
        codes: what `quantize_embeddings` returned.
        ranges: the same range, for int8 and uint8.
        dim: the number of dimensions, for packed bits whose last byte is padded; by default eight a byte.

    Returns:
        (n, dim) float32.
    """
    check_precision(precision)
    if precision == "float32":
        return _as_float32(codes)
    if precision in ("binary", "ubinary"):
        return _unpack(codes, signed=precision == "binary", dim=dim)
    low, step = low_and_step(required(ranges, precision), codes.shape[1], codes)
    offset = 128.5 if precision == "int8" else 0.5
    return low + (_as_float32(codes) + offset) * step


def check_precision(precision: str) -> None:
    """Raises ValueError for a precision that is no grid of ours."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision '{precision}'; valid: {', '.join(PRECISIONS)}")


def check_values(embeddings: Any) -> None:
    """Raises ValueError unless embeddings are (n, dim) without NaN."""
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must have shape (n, dim), not {tuple(embeddings.shape)}")
    nan = embeddings.isnan().any() if is_torch(embeddings) else np.isnan(embeddings).any()
    if bool(nan):
        raise ValueError("embeddings hold NaN, which no grid has a code for")


def required(ranges: MinMaxRange | None, precision: str) -> MinMaxRange:
    """The range, or a ValueError that asks for one."""
    if ranges is None:
        raise ValueError(f"{precision} needs ranges=MinMaxRange().fit(embeddings)")
    return ranges


def low_and_step(ranges: MinMaxRange, dim: int, like: Any) -> tuple[Any, Any]:
    """(low, step) of each dimension in the library and on the device of `like`; a constant dimension has step 1."""
    low, high = ranges.bounds(dim)
    if is_torch(like):
        import torch

        low = torch.as_tensor(low, dtype=torch.float32, device=like.device)
        step = (torch.as_tensor(high, dtype=torch.float32, device=like.device) - low) / STEPS
        return low, torch.where(step > 0, step, torch.ones_like(step))
    low, high = np.asarray(low, dtype=np.float32), np.asarray(high, dtype=np.float32)
    step = (high - low) / np.float32(STEPS)
    return low, np.where(step > 0, step, np.float32(1))


def _integer_codes(embeddings: Any, precision: str, ranges: MinMaxRange) -> Any:
    values = _as_float32(embeddings)
    low, step = low_and_step(ranges, values.shape[1], values)
    positions = (values - low) / step
    if is_torch(values):
        import torch

        steps = positions.floor().clamp(0, STEPS)
        return (steps - 128).to(torch.int8) if precision == "int8" else steps.to(torch.uint8)
    steps = np.clip(np.floor(positions), 0, STEPS)
    return (steps - 128).astype(np.int8) if precision == "int8" else steps.astype(np.uint8)


def _as_float32(values: Any) -> Any:
    return values.float() if is_torch(values) else np.asarray(values).astype(np.float32, copy=False)


def _pack(embeddings: Any, signed: bool) -> Any:
    if is_torch(embeddings):
        import torch

        return torch.from_numpy(_pack((embeddings.detach() > 0).cpu().numpy(), signed)).to(embeddings.device)
    packed = np.packbits(embeddings > 0, axis=1)
    return (packed.astype(np.int16) - 128).astype(np.int8) if signed else packed


def _unpack(codes: Any, signed: bool, dim: int | None) -> Any:
    if is_torch(codes):
        import torch

        return torch.from_numpy(_unpack(codes.cpu().numpy(), signed, dim)).to(codes.device)
    packed = (codes.astype(np.int16) + 128).astype(np.uint8) if signed else codes
    return np.unpackbits(packed, axis=1, count=dim).astype(np.float32) * 2 - 1
