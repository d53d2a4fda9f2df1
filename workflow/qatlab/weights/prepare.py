"""Fake quantization of weights and activations in training: preparing a model, switching it on, and checking that it has effect."""

from collections.abc import Callable
from types import MethodType
from typing import Any, TypeAlias

import torch
from torch import nn
from torchao.core.config import AOBaseConfig
from torchao.prototype.qat import MXFakeQuantizedLinear, NVFP4FakeQuantizedLinear
from torchao.quantization import (
    Float8DynamicActivationFloat8WeightConfig,
    Float8DynamicActivationInt4WeightConfig,
    Int4WeightOnlyConfig,
    Int8DynamicActivationIntxWeightConfig,
    IntxWeightOnlyConfig,
    quantize_,
)
from torchao.quantization.granularity import PerAxis, PerGroup, PerRow
from torchao.quantization.qat import QATConfig
from torchao.quantization.qat.embedding import FakeQuantizedEmbedding
from torchao.quantization.qat.linear import FakeQuantizedLinear
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.config.method import StartConfig, WeightStartConfig
from qatlab.config.weights import ClipConfig, WeightsConfig
from qatlab.weights.grids import OnnxInt8Linear, Uint8PerTensor, clipped
from qatlab.weights.select import selected


def linear_config(config: WeightsConfig) -> AOBaseConfig:
    """Return torchao's configuration for the linear layers of a scheme."""
    if config.on_gpu:
        return _kernel_config(config)
    dtype = getattr(torch, f"int{config.bits}")
    granularity = PerAxis(0) if config.group_size is None else PerGroup(config.group_size)
    if config.activations == "int8":
        return Int8DynamicActivationIntxWeightConfig(weight_dtype=dtype, weight_granularity=granularity)
    return IntxWeightOnlyConfig(weight_dtype=dtype, granularity=granularity)


def embedding_config(config: WeightsConfig) -> AOBaseConfig:
    """Return torchao's configuration for the embedding tables of a scheme, which have no activations."""
    return linear_config(config.model_copy(update={"activations": "float"}))


def _kernel_config(config: WeightsConfig) -> AOBaseConfig:
    """Return torchao's configuration of a scheme whose kernels only exist for GPUs."""
    if config.grid == "float8":
        return Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())
    if config.grid == "float8_int4":
        return Float8DynamicActivationInt4WeightConfig()
    if config.grid == "int4_kernel":
        return Int4WeightOnlyConfig(group_size=config.group_size)
    from torchao.prototype.mx_formats import MXDynamicActivationMXWeightConfig, NVFP4DynamicActivationNVFP4WeightConfig

    if config.grid == "nvfp4":
        return NVFP4DynamicActivationNVFP4WeightConfig()
    dtype = {"mxfp8": torch.float8_e4m3fn, "mxfp4": torch.float4_e2m1fn_x2}[config.grid]
    return MXDynamicActivationMXWeightConfig(activation_dtype=dtype, weight_dtype=dtype)


# Fake quantization of a model's weights and activations during training.
#
# The layers are torchao's (https://github.com/pytorch/ao, torchao/quantization/qat), and so are the quantizers, except those for the
# grid of ONNX Runtime and for clipping, which torchao does not have.

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


UNENDING = 2.0**31  # assumed number of steps while a training that the clock ends has made no progress


class WeightQuantizationCallback(TrainerCallback):
    """Callback that enables or disables the fake quantizers of the trainer's model at each step.

    Args:
        start: When the fake quantization of weights and of activations begins.
        progress: Function that returns the completed fraction of a training that the clock ends; by default the fraction of its
            steps counts.

    Attributes:
        diagnostics: 1.0 or 0.0 for `weights_quantized` and `activations_quantized` at the current step.
    """

    def __init__(self, start: WeightStartConfig, progress: Callable[[], float] | None = None) -> None:
        self.start = start
        self.progress = progress
        self.diagnostics: dict[str, float] = {}

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Enable or disable the fake quantizers before the forward pass of each optimizer step.

        Args:
            args: The trainer's arguments.
            state: The trainer's state, which has the number of the step.
            control: The trainer's control object.
            **kwargs: Further arguments of callbacks, among them `model`.
        """
        step, total = state.global_step, float(state.max_steps)
        if self.progress is not None:
            done = self.progress()
            total = step / done if done > 0 else UNENDING
        weights, activations = (begun(start, step, total) for start in (self.start.weights, self.start.activations))
        enable(kwargs["model"], weights=weights, activations=activations)
        self.diagnostics = {"weights_quantized": float(weights), "activations_quantized": float(activations)}


def begun(start: StartConfig, step: int, total_steps: float) -> bool:
    """Return whether fake quantization is enabled at a step.

    Args:
        start: When it begins.
        step: The optimizer step, counted from 0.
        total_steps: Number of steps of the training.
    """
    return step >= (start.fraction * total_steps if start.fraction is not None else start.steps or 0)
