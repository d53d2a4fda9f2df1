"""Fake quantization: values on the grid in the forward pass, an estimated gradient in the backward pass."""

from typing import Any

from qatlab.quantization.backend import is_torch
from qatlab.quantization.grids import dequantize_embeddings, fitted_grid, quantize_embeddings
from qatlab.quantization.precisions import check_dimension, check_precision
from qatlab.quantization.ranges import as_range


def fake_quantize(embeddings: Any, precision: str, ranges: Any = None, estimator: Any = "identity") -> Any:
    """`dequantize_embeddings(quantize_embeddings(embeddings))`, to the bit, and differentiable in torch.

    Args:
        embeddings: (n, dim) floats, NumPy or torch.
        precision: as for `quantize_embeddings`.
        ranges: as for `quantize_embeddings`.
        estimator: how gradients pass: 'identity', 'clipped', 'tanh', 'lsq', or one of `qatlab.quantization.estimators`.
            lsq is for equal cells; between quantiles there is no step, and it passes straight through, as tanh does but for bits.
            tanh alone changes the forward values too. NumPy arrays have no gradient.

    Returns:
        (n, dim) float32; torch embeddings themselves for float32.

    Raises:
        ValueError: as for `quantize_embeddings`, or for an unknown estimator. On a GPU NaN is not looked for: it stays NaN.
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
