"""Codes and values of the grids in torch, on any device: the same bits as `numpy_grid`."""

from typing import Any

import torch
from torch import Tensor

from qatlab.quantization.backend import NotFiniteError
from qatlab.quantization.numpy_grid import NAN
from qatlab.quantization.precisions import CELLS, LARGEST, is_binary

FLOAT_TYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float8_e4m3": torch.float8_e4m3fn,
}
BIT_SHIFTS = (7, 6, 5, 4, 3, 2, 1, 0)  # the first dimension is the highest bit, as in numpy.packbits


def encode(values: Tensor, precision: str, low: Any, step: Any) -> Tensor:
    """Codes of (n, dim) values; `low` and `step`, float32 (dim,), for integer grids."""
    values = checked(values.detach())
    if precision in FLOAT_TYPES:
        return _clipped(values, precision).to(FLOAT_TYPES[precision])
    if is_binary(precision):
        packed = _packed(values > 0)
        return (packed ^ 128).view(torch.int8) if precision == "binary" else packed
    cells = _cells(values, low, step, precision).to(torch.uint8)
    if precision == "int4":
        signed = cells ^ 8
        return signed[:, 0::2] | (signed[:, 1::2] << 4)
    return (cells ^ 128).view(torch.int8) if precision == "int8" else cells


def decode(codes: Tensor, precision: str, low: Any, step: Any, dim: int | None) -> Tensor:
    """float32 values of codes; `dim` cuts off the padding of packed bits."""
    if precision in FLOAT_TYPES:
        return codes.float()
    if is_binary(precision):
        packed = codes.view(torch.uint8) ^ 128 if precision == "binary" else codes
        shifts = torch.tensor(BIT_SHIFTS, dtype=torch.uint8, device=codes.device)
        bits = (packed.unsqueeze(-1) >> shifts) & 1
        return bits.flatten(1)[:, :dim].float() * 2 - 1
    if precision == "int8":
        cells = codes.view(torch.uint8) ^ 128
    elif precision == "int4":
        cells = torch.stack([codes & 15, codes >> 4], dim=2).flatten(1) ^ 8
    else:
        cells = codes
    return (cells.float() + 0.5) * step + low


def on_grid(values: Tensor, precision: str, low: Any, step: Any) -> Tensor:
    """`decode(encode(values))`, to the bit, without the codes in between; no gradient.

    On a GPU a look for NaN would wait for the device in every training step: there NaN stays NaN, and reaches the loss.
    """
    values = values.detach().float() if values.is_cuda else checked(values.detach())
    if precision in FLOAT_TYPES:
        return _clipped(values, precision).to(FLOAT_TYPES[precision]).float()
    if is_binary(precision):
        signs = torch.where(values > 0, 1.0, -1.0)
        return torch.where(values.isnan(), values, signs) if values.is_cuda else signs
    return (_cells(values, low, step, precision) + 0.5) * step + low


def checked(values: Tensor) -> Tensor:
    """`values` as float32; raises ValueError for NaN (not while torch.compile traces, where nothing can be raised)."""
    if not torch.compiler.is_compiling() and bool(values.isnan().any()):
        raise NotFiniteError(NAN)
    return values.float()


def _clipped(values: Tensor, precision: str) -> Tensor:
    largest = LARGEST.get(precision)
    return values if largest is None else values.clamp(-largest, largest)


def _cells(values: Tensor, low: Any, step: Any, precision: str) -> Tensor:
    return ((values - low) / step).clamp(0, CELLS[precision] - 1).floor()


def _packed(bits: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(bits.to(torch.uint8), (0, -bits.shape[1] % 8))
    shifts = torch.tensor(BIT_SHIFTS, dtype=torch.uint8, device=bits.device)
    return (padded.unflatten(1, (-1, 8)) << shifts).sum(dim=2, dtype=torch.uint8)
