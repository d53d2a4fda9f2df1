"""Fake quantization: values on the grid in the forward pass, the straight-through gradient in the backward pass."""

import torch
from torch import Tensor

from qatlab.quantization.grids import check_precision, dequantize_embeddings, quantize_embeddings, required
from qatlab.quantization.ranges import MinMaxRange


def fake_quantize(embeddings: Tensor, precision: str, ranges: MinMaxRange | None = None) -> Tensor:
    """`dequantize(quantize(embeddings))`, with the gradient of the identity (Bengio et al. 2013, arXiv 1308.3432).

    Args:
        embeddings: (n, dim) floats; gradients flow through unchanged.
        precision: as for `quantize_embeddings`.
        ranges: a fitted range, for int8 and uint8.

    Returns:
        (n, dim) float32 for integer and binary precisions; `embeddings` itself for float32.
    """
    check_precision(precision)
    if precision == "float32":
        return embeddings
    values = embeddings.float()
    with torch.no_grad():
        if precision in ("binary", "ubinary"):
            on_grid = torch.where(values > 0, 1.0, -1.0)  # the packed bits' values without the packing
        else:
            codes = quantize_embeddings(values, precision, required(ranges, precision))
            on_grid = dequantize_embeddings(codes, precision, ranges)
    return values + (on_grid - values).detach()
