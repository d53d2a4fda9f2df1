"""Fake quantization, which rounds values to the grid in the forward pass and estimates the gradient in the backward pass."""

from typing import Any

from qatlab.quantization.backend import is_torch
from qatlab.quantization.grids import dequantize_embeddings, fitted_grid, quantize_embeddings
from qatlab.quantization.precisions import check_dimension, check_precision
from qatlab.quantization.ranges import as_range


def fake_quantize(embeddings: Any, precision: str, ranges: Any = None, estimator: Any = "identity") -> Any:
    """Round embeddings to the grid of a precision, differentiably in torch.

    The values are those of `dequantize_embeddings(quantize_embeddings(embeddings))`, bit by bit.

    Args:
        embeddings: (n, dim) floats, NumPy or torch.
        precision: The precision, as for `quantize_embeddings`.
        ranges: The fitted range, as for `quantize_embeddings`.
        estimator: Gradient estimator: 'identity', 'clipped', 'tanh', 'lsq', or one of `qatlab.quantization.estimators`.
            lsq is for cells of equal width; for cells between quantiles, which have no step, it is the straight-through
            estimator, and so is tanh for all precisions but bits. Only tanh also changes the forward values. NumPy arrays have no
            gradient.

    Returns:
        (n, dim) float32; for precision float32 in torch, `embeddings` itself.

    Raises:
        ValueError: As for `quantize_embeddings`, or for an unknown estimator. On a GPU there is no check for NaN, which stays NaN.
    """
    check_precision(precision)
    if not is_torch(embeddings):
        codes = quantize_embeddings(embeddings, precision, ranges)
        return dequantize_embeddings(codes, precision, ranges, dim=embeddings.shape[1])
    from qatlab.quantization import torch_grid
    from qatlab.quantization.estimators import as_estimator

    chosen = as_estimator(estimator)
    if precision == "float32":
        return embeddings
    dim = embeddings.shape[1]
    check_dimension(precision, dim)
    values = embeddings.float()
    grid = fitted_grid(ranges, precision, dim, values)
    on_grid = torch_grid.on_grid(values, precision, grid)
    return chosen(values, on_grid, precision, None if ranges is None else as_range(ranges))
