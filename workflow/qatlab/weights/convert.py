"""A plain model's weights quantized for good, by torchao: what a scheme ships, after training with it or without."""

import torch
from torch import nn
from torchao.quantization import quantize_

from qatlab.config.weights import WeightsConfig
from qatlab.weights.clip import clipped
from qatlab.weights.coverage import Coverage
from qatlab.weights.schemes import embedding_config, linear_config
from qatlab.weights.select import coverage, selected


def convert(model: nn.Module, config: WeightsConfig) -> tuple[list[str], Coverage]:
    """Quantize the scheme's layers in place, for inference; returns their names, and how many weights they are of how many.

    Raises ValueError if there are none, if a group does not fit, or for the grid of ONNX Runtime, which only that runs.
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
