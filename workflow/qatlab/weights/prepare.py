"""Fake quantization of a model's weights, and of its activations, in training.

The layers are torchao's (https://github.com/pytorch/ao, torchao/quantization/qat); so are the quantizers, but for the grid of
ONNX Runtime and for clipping, which it doesn't have.
"""

from types import MethodType
from typing import Any, TypeAlias

import torch
from torch import nn
from torchao.prototype.qat import MXFakeQuantizedLinear, NVFP4FakeQuantizedLinear
from torchao.quantization import quantize_
from torchao.quantization.qat import QATConfig
from torchao.quantization.qat.embedding import FakeQuantizedEmbedding
from torchao.quantization.qat.linear import FakeQuantizedLinear

from qatlab.config.weights import ClipConfig, WeightsConfig
from qatlab.weights.clip import clipped
from qatlab.weights.onnx_grid import OnnxInt8Linear, Uint8PerTensor
from qatlab.weights.schemes import embedding_config, linear_config
from qatlab.weights.select import selected

# torchao's layers for block formats quantize and multiply in one: they hold no quantizers that could be switched.
BLOCK = (MXFakeQuantizedLinear, NVFP4FakeQuantizedLinear)
FAKE = (FakeQuantizedLinear, FakeQuantizedEmbedding, *BLOCK)
FakeLayer: TypeAlias = Any  # one of FAKE; torchao's types are not checked


class Clipped(nn.Module):
    """A weight clipped row by row, or group by group, and then quantized."""

    def __init__(self, quantizer: nn.Module, config: ClipConfig, bits: int, group_size: int | None) -> None:
        super().__init__()
        self.quantizer, self.config, self.bits, self.group_size = quantizer, config, bits, group_size
        self.enabled = True

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """(outputs, inputs), the nearest values of the clipped grid; gradients pass unchanged."""
        if not self.enabled:
            return weight
        quantized: torch.Tensor = self.quantizer(clipped(weight, self.config, self.bits, self.group_size))
        return quantized


def prepare(model: nn.Module, config: WeightsConfig) -> list[str]:
    """Makes the scheme's layers fake-quantize, in place, and returns their names.

    Raises ValueError if there are none, or if a group does not fit.
    """
    chosen = selected(model, config)
    for name, module in chosen.items():
        model.set_submodule(name, _fake(module, config))
    return list(chosen)


def prepared(model: nn.Module) -> dict[str, FakeLayer]:
    """The layers of a model that fake-quantize, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, FAKE)}


def enable(model: nn.Module, weights: bool, activations: bool) -> None:
    """Switches the fake quantizers of weights and of activations; block formats begin with both, when weights do."""
    for module in prepared(model).values():
        if isinstance(module, BLOCK):
            module.__dict__.pop("forward", None)
            if not weights:
                module.forward = MethodType(nn.Linear.forward, module)
            continue
        module.weight_fake_quantizer.enabled = weights
        if getattr(module, "activation_fake_quantizer", None) is not None:
            module.activation_fake_quantizer.enabled = activations


def strip(model: nn.Module) -> None:
    """Back to plain layers that hold the trained float weights, for saving and export."""
    for name, module in prepared(model).items():
        model.set_submodule(
            name, module.to_embedding() if isinstance(module, FakeQuantizedEmbedding) else module.to_linear()
        )


def _fake(module: nn.Linear | nn.Embedding, config: WeightsConfig) -> FakeLayer:
    is_linear = isinstance(module, nn.Linear)
    base = linear_config(config) if is_linear else embedding_config(config)
    holder = nn.Sequential(module)
    quantize_(holder, QATConfig(base, step="prepare"), filter_fn=lambda inner, _: inner is module)
    fake = holder[0]
    assert isinstance(fake, FAKE)
    if config.grid == "onnx_int8" and isinstance(module, nn.Linear):
        fake = OnnxInt8Linear.of(module)
    elif config.grid == "onnx_int8":
        fake.weight_fake_quantizer = Uint8PerTensor()
    elif config.clip is not None:
        fake.weight_fake_quantizer = Clipped(fake.weight_fake_quantizer, config.clip, config.bits, config.group_size)
    fake.train(module.training)
    return fake
