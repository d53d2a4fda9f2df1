"""Fake quantization of a model's weights and activations during training.

The layers are torchao's (https://github.com/pytorch/ao, torchao/quantization/qat), and so are the quantizers, except those for the
grid of ONNX Runtime and for clipping, which torchao does not have.
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

# torchao's layers for block formats fuse quantization and multiplication; they have no quantizers that could be disabled.
BLOCK = (MXFakeQuantizedLinear, NVFP4FakeQuantizedLinear)
FAKE = (FakeQuantizedLinear, FakeQuantizedEmbedding, *BLOCK)
FakeLayer: TypeAlias = Any  # one of FAKE; torchao has no type annotations


class Clipped(nn.Module):
    """Fake quantizer that clips each row or group of a weight before it quantizes the weight.

    Args:
        quantizer: The quantizer of the clipped weight.
        config: The kind of the limit.
        bits: Number of bits of the grid.
        group_size: Number of inputs that share a limit; None for whole rows.
    """

    def __init__(self, quantizer: nn.Module, config: ClipConfig, bits: int, group_size: int | None) -> None:
        super().__init__()
        self.quantizer, self.config, self.bits, self.group_size = quantizer, config, bits, group_size
        self.enabled = True

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Round a weight (outputs, inputs) to the nearest values of the clipped grid; gradients pass unchanged."""
        if not self.enabled:
            return weight
        quantized: torch.Tensor = self.quantizer(clipped(weight, self.config, self.bits, self.group_size))
        return quantized


def prepare(model: nn.Module, config: WeightsConfig) -> list[str]:
    """Replace the layers that a scheme selects by fake-quantized layers, in place.

    Args:
        model: The model.
        config: The scheme.

    Returns:
        The names of the replaced layers.

    Raises:
        ValueError: If the scheme selects no layer, or if the group size does not divide the inputs of a layer.
    """
    chosen = selected(model, config)
    for name, module in chosen.items():
        model.set_submodule(name, _fake(module, config))
    return list(chosen)


def prepared(model: nn.Module) -> dict[str, FakeLayer]:
    """Return the fake-quantized layers of a model by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, FAKE)}


def enable(model: nn.Module, weights: bool, activations: bool) -> None:
    """Enable or disable the fake quantizers of a prepared model.

    Args:
        model: The model.
        weights: Whether the quantizers of weights are enabled. Layers of block formats quantize both where it is true.
        activations: Whether the quantizers of activations are enabled.
    """
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
    """Replace fake-quantized layers by plain layers with the trained float weights, for saving and export."""
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
