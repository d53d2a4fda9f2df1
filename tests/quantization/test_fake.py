"""Fake quantization: the evaluation's grid forward, the identity backward."""

import pytest
import torch

from qatlab.quantization import MinMaxRange, dequantize_embeddings, fake_quantize, quantize_embeddings


@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary"])
def test_forward_is_the_grid_and_backward_the_identity(precision):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(16, 24, generator=generator, requires_grad=True)
    ranges = MinMaxRange().fit(embeddings)
    faked = fake_quantize(embeddings, precision, ranges)
    codes = quantize_embeddings(embeddings.detach(), precision, ranges)
    on_grid = dequantize_embeddings(codes, precision, ranges, dim=24)
    assert torch.allclose(faked, on_grid, atol=1e-6)
    upstream = torch.randn(16, 24, generator=generator)
    faked.backward(upstream)
    assert torch.equal(embeddings.grad, upstream)
