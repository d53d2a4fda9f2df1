"""Encoding and decoding of the grids in torch on any device, bit-identical to the functions for NumPy in `grids`."""

from typing import Any

import torch
from torch import Tensor

from qatlab.quantization.grids import NAN, SIGN_BITS, cells_by_byte, place_values
from qatlab.quantization.precisions import CELLS, LARGEST, PER_BYTE, QUANTILE, NotFiniteError, is_binary

FLOAT_TYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float8_e4m3": torch.float8_e4m3fn,
}
BIT_SHIFTS = (7, 6, 5, 4, 3, 2, 1, 0)  # the first dimension is the highest bit, as in numpy.packbits


def encode(values: Tensor, precision: str, grid: Any) -> Tensor:
    """Quantize values to codes on the same device, without gradient.

    Args:
        values: (n, dim) floats.
        precision: The precision of the codes.
        grid: The result of `grids.fitted_grid`.

    Returns:
        Codes with the shape and dtype that `grids.quantize_embeddings` documents.
    """
    values = checked(values.detach())
    if precision in FLOAT_TYPES:
        return _clipped(values, precision).to(FLOAT_TYPES[precision])
    if is_binary(precision):
        packed = _packed_bits(values > 0)
        return (packed ^ 128).view(torch.int8) if precision == "binary" else packed
    cells = _cells_between(values, grid[0]) if precision in QUANTILE else _equal_cells(values, grid, precision)
    cells = cells.to(torch.uint8) ^ SIGN_BITS.get(precision, 0)
    if precision in PER_BYTE:
        return _packed(cells, precision)
    return cells.view(torch.int8) if precision == "int8" else cells


def decode(codes: Tensor, precision: str, grid: Any, dim: int) -> Tensor:
    """Decode codes to (n, dim) float32 values.

    Args:
        codes: Codes that `encode` returned.
        precision: The precision of the codes.
        grid: The result of `grids.fitted_grid`.
        dim: Number of dimensions.
    """
    if precision in FLOAT_TYPES:
        return codes.float()
    if is_binary(precision):
        packed = codes.view(torch.uint8) ^ 128 if precision == "binary" else codes
        shifts = torch.tensor(BIT_SHIFTS, dtype=torch.uint8, device=codes.device)
        bits = (packed.unsqueeze(-1) >> shifts) & 1
        return bits.flatten(1)[:, :dim].float() * 2 - 1
    cells = cells_of(codes, precision, dim)
    if precision in QUANTILE:
        values: Tensor = grid[1].gather(0, cells.long())
        return values
    low, step = grid
    return (cells.float() + 0.5) * step + low


def integers(codes: Tensor, precision: str, dim: int) -> Tensor:
    """Unpack codes of an integer grid to one number per dimension, (n, dim) int8, or uint8 for uint8.

    Args:
        codes: Codes that `encode` returned.
        precision: The precision of the codes.
        dim: Number of dimensions.
    """
    if precision not in PER_BYTE:
        return codes
    return cells_of(codes, precision, dim).view(torch.int8) - CELLS[precision] // 2


def cells_of(codes: Tensor, precision: str, dim: int) -> Tensor:
    """Return the cell of each code of an integer grid, counted from 0: (n, dim) uint8.

    Args:
        codes: Codes that `encode` returned.
        precision: The precision of the codes.
        dim: Number of dimensions.

    Raises:
        ValueError: If a byte is larger than any combination of codes.
    """
    if precision not in PER_BYTE:
        return codes.view(torch.uint8) ^ SIGN_BITS.get(precision, 0)
    table = torch.from_numpy(cells_by_byte(precision)).to(codes.device)
    if len(table) < 256 and codes.numel() and int(codes.max()) >= len(table):
        raise ValueError(f"a byte of {precision} codes is at most {len(table) - 1}, not {int(codes.max())}")
    return table[codes.long()].flatten(1)[:, :dim]


def on_grid(values: Tensor, precision: str, grid: Any) -> Tensor:
    """Round values to the grid, with the same bits as `decode(encode(values))` but without codes; there is no gradient.

    On a GPU, a check for NaN would synchronize with the device in every training step. NaN therefore stays NaN there, and reaches
    the loss.

    Args:
        values: (n, dim) floats.
        precision: The precision of the grid.
        grid: The result of `grids.fitted_grid`.

    Returns:
        (n, dim) float32.

    Raises:
        NotFiniteError: For NaN on a CPU.
    """
    values = values.detach().float() if values.is_cuda else checked(values.detach())
    if precision in FLOAT_TYPES:
        return _clipped(values, precision).to(FLOAT_TYPES[precision]).float()
    if is_binary(precision):
        return _keeping_nan(torch.where(values > 0, 1.0, -1.0), values)
    if precision in QUANTILE:
        rounded, borders = grid[1][0].expand_as(values), grid[0]
        for border, value in zip(borders, grid[1][1:], strict=True):
            rounded = torch.where(values > border, value, rounded)
        return _keeping_nan(rounded, values)
    low, step = grid
    return (_equal_cells(values, grid, precision) + 0.5) * step + low


def _keeping_nan(rounded: Tensor, values: Tensor) -> Tensor:
    return torch.where(values.isnan(), values, rounded) if values.is_cuda else rounded


def checked(values: Tensor) -> Tensor:
    """Return values as float32; raise NotFiniteError for NaN, except while torch.compile traces and cannot raise."""
    if not torch.compiler.is_compiling() and bool(values.isnan().any()):
        raise NotFiniteError(NAN)
    return values.float()


def _clipped(values: Tensor, precision: str) -> Tensor:
    largest = LARGEST.get(precision)
    return values if largest is None else values.clamp(-largest, largest)


def _equal_cells(values: Tensor, grid: Any, precision: str) -> Tensor:
    low, step = grid
    return ((values - low) / step).clamp(0, CELLS[precision] - 1).floor()


def _cells_between(values: Tensor, borders: Tensor) -> Tensor:
    """Return the number of borders below each value, which is its cell."""
    cells = (values > borders[0]).to(torch.uint8)
    for border in borders[1:]:
        cells += values > border
    return cells


def _packed_bits(bits: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(bits.to(torch.uint8), (0, -bits.shape[1] % 8))
    shifts = torch.tensor(BIT_SHIFTS, dtype=torch.uint8, device=bits.device)
    return (padded.unflatten(1, (-1, 8)) << shifts).sum(dim=2, dtype=torch.uint8)


def _packed(cells: Tensor, precision: str) -> Tensor:
    """Pack several cells into each byte of a row; the last byte is padded with zeros."""
    places = torch.from_numpy(place_values(precision)).to(cells.device, torch.uint8)
    padded = torch.nn.functional.pad(cells, (0, -cells.shape[1] % len(places)))
    return (padded.unflatten(1, (-1, len(places))) * places).sum(dim=2, dtype=torch.uint8)
