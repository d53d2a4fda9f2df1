"""Check that fake quantizers have an effect, so that a scheme that silently changes nothing does not count as QAT."""

from collections.abc import Callable

import torch
from torch import nn

from qatlab.weights.prepare import BLOCK, FakeLayer, enable, prepared


def changed_share(layer: FakeLayer) -> float:
    """Return the share of a prepared layer's weights that its fake quantizer changes, from 0 to 1.

    Layers of block formats have no separate quantizer; for them it is the share of changed outputs.
    """
    weight = layer.weight.detach()
    if isinstance(layer, BLOCK):
        with torch.no_grad():
            return (layer(weight) != nn.functional.linear(weight, weight, layer.bias)).float().mean().item()
    quantized: torch.Tensor = layer.weight_fake_quantizer(weight)
    return (quantized != weight).float().mean().item()


def check_live(model: nn.Module, outputs: Callable[[], torch.Tensor]) -> None:
    """Check that fake quantization changes every prepared weight, and thereby the outputs of the model.

    The check runs the model's own forward pass, compiled or not, because `torch.compile` may have removed the branch. The
    quantizers of weights and activations are enabled afterwards.

    Args:
        model: A prepared model.
        outputs: Function that runs the model on a few texts and returns its outputs, such as their embeddings.

    Raises:
        RuntimeError: If a weight or the outputs do not change.
    """
    enable(model, weights=True, activations=True)
    unchanged = [name for name, layer in prepared(model).items() if changed_share(layer) == 0]
    if unchanged:
        raise RuntimeError(
            f"fake quantization has no effect: it changes no weight of {unchanged[0]} ({len(unchanged)} such layers)"
        )
    quantized = outputs()
    enable(model, weights=False, activations=False)
    plain = outputs()
    enable(model, weights=True, activations=True)
    if torch.equal(quantized, plain):
        raise RuntimeError("fake quantization has no effect in the forward pass: it changes no output")
