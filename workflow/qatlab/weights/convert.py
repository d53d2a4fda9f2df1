"""Conversion of a model's weights to a scheme with torchao, for deployment after QAT or as PTQ."""

import torch
from torch import nn
from torchao.quantization import quantize_

from qatlab.config.weights import Coverage, WeightsConfig
from qatlab.weights.grids import clipped
from qatlab.weights.prepare import embedding_config, linear_config
from qatlab.weights.select import coverage, selected


def convert(model: nn.Module, config: WeightsConfig) -> tuple[list[str], Coverage]:
    """Quantize the layers that a scheme selects in place, for inference.

    Args:
        model: A model without fake quantizers.
        config: The scheme.

    Returns:
        The names of the quantized layers, and the numbers of their weights and of all weights of linear layers.

    Raises:
        ValueError: If the scheme selects no layer, if the group size does not divide the inputs of a layer, or for the grid of ONNX
            Runtime, which torchao does not have.
    """
    if config.grid == "onnx_int8":
        raise ValueError(f"weight scheme '{config.name}' is ONNX Runtime's grid, not torchao's; deploy it as onnx_int8")
    chosen = selected(model, config)
    counts = coverage(model, chosen.values())
    for module in chosen.values():
        if config.clip is not None:
            with torch.no_grad():
                module.weight.copy_(clipped(module.weight, config.clip, config.bits, config.group_size))
        base = linear_config(config) if isinstance(module, nn.Linear) else embedding_config(config)
        quantize_(module, base, filter_fn=lambda inner, _, module=module: inner is module)
    return list(chosen), counts
