"""Proof that fake quantizers do something: a scheme that silently does nothing must not pass for QAT."""

from collections.abc import Callable

import torch
from torch import nn

from qatlab.weights.prepare import BLOCK, FakeLayer, enable, prepared


def changed_share(layer: FakeLayer) -> float:
    """Share of a prepared layer's weights that its fake quantizer moves, from 0 to 1; of a block format, of its outputs."""
    weight = layer.weight.detach()
    if isinstance(layer, BLOCK):
        with torch.no_grad():
            return (layer(weight) != nn.functional.linear(weight, weight, layer.bias)).float().mean().item()
    quantized: torch.Tensor = layer.weight_fake_quantizer(weight)
    return (quantized != weight).float().mean().item()


def check_live(model: nn.Module, outputs: Callable[[], torch.Tensor]) -> None:
    """Raises RuntimeError unless every prepared weight is moved by its grid, and the model's outputs with them.

    The forward pass is the model's own, compiled or not: `torch.compile` may have removed the branch. Quantizers of
    weights and activations are on afterwards.

    Args:
        outputs: runs the model on a few texts and gives what comes out, such as their embeddings.
    """
    enable(model, weights=True, activations=True)
    still = [name for name, layer in prepared(model).items() if changed_share(layer) == 0]
    if still:
        raise RuntimeError(
            f"fake quantization changes no weight of {still[0]} ({len(still)} such layers): it is not live"
        )
    quantized = outputs()
    enable(model, weights=False, activations=False)
    plain = outputs()
    enable(model, weights=True, activations=True)
    if torch.equal(quantized, plain):
        raise RuntimeError("fake quantization changes no output: it is not live in the forward pass")
