"""Quantization-aware training of linear layers with torchao (https://github.com/pytorch/ao, quantization/qat)."""

import torch
from torch import nn
from torchao.quantization import IntxWeightOnlyConfig, quantize_
from torchao.quantization.granularity import PerAxis
from torchao.quantization.qat import QATConfig
from torchao.quantization.qat.linear import FakeQuantizedLinear

from qatlab.config.method import WeightQuantizationConfig


def base_config(config: WeightQuantizationConfig) -> IntxWeightOnlyConfig:
    """The torchao configuration of a scheme, the same for training and for conversion."""
    return {"int8": IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))}[config.scheme]


def prepare(model: nn.Module, config: WeightQuantizationConfig) -> int:
    """Makes every linear layer fake-quantize its weight; returns how many. Raises ValueError if that is none."""
    quantize_(model, QATConfig(base_config(config), step="prepare"))
    count = sum(isinstance(module, FakeQuantizedLinear) for module in model.modules())
    if count == 0:
        raise ValueError(f"weight scheme '{config.scheme}' found no linear layer to quantize")
    return count


def strip(model: nn.Module) -> None:
    """Back to plain linear layers that hold the trained float weights, for saving and export."""
    quantize_(model, QATConfig(step="convert"))
    left = [name for name, module in model.named_modules() if isinstance(module, FakeQuantizedLinear)]
    if left:
        raise RuntimeError(f"fake quantizers are still in {left[0]}")
