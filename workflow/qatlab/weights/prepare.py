"""Fake quantization of weights and activations in training: its grids, preparing a model, switching it on, and checking its effect.

Grids beside torchao's own are clipping of each row, and ONNX Runtime's dynamic int8 quantization. The integers that are shipped are
made in `qatlab.deployments.backends`, by torchao or ONNX Runtime.
"""

import math
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

from qatlab.config.weights import ClipConfig, StartConfig, WeightsConfig, WeightStartConfig
from qatlab.machine.processes import extremes_of_all
from qatlab.weights.select import selected

VALUES_AT_ONCE = 1 << 18  # 1 MB of float32, so that a block of magnitudes stays in the CPU's cache
MSE_CANDIDATES = 64  # limits tried per row, from half the largest magnitude to all of it


def percentile_limit(weight: torch.Tensor, share: float) -> torch.Tensor:
    """Return the `share` quantile of each row's magnitudes: `torch.quantile(weight.abs(), share, dim=1)`, without sorting rows.

    For a share near 1, only the few largest magnitudes of a row determine the quantile. The parameter-golf ablation clips at
    .9999984.

    Args:
        weight: (rows, columns), any float dtype.
        share: The quantile, from 0 to 1.

    Returns:
        (rows,) float32.
    """
    rows, columns = weight.shape
    # The rank is computed in float32, so that it is rounded as in torch.quantile.
    position = (torch.tensor(share, dtype=torch.float32) * (columns - 1)).item()
    below = math.floor(position)
    top = columns - below  # number of magnitudes that are needed, counted from the largest
    limits = torch.empty(rows, device=weight.device)
    at_once = max(1, VALUES_AT_ONCE // columns)
    magnitudes = torch.empty(min(rows, at_once), columns, device=weight.device)
    for start in range(0, rows, at_once):
        block = weight.detach()[start : start + at_once].float()
        largest = torch.topk(torch.abs(block, out=magnitudes[: len(block)]), top, dim=1).values
        low, high = largest[:, -1], largest[:, max(0, top - 2)]
        limits[start : start + at_once] = torch.lerp(low, high, position - below)
    return limits


def mse_limit(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the limit of each row at which rounding to a symmetric grid has the smallest squared error.

    The limit is the best of MSE_CANDIDATES, as in OMSE (Choukroun et al. 2019, https://arxiv.org/abs/1902.06822).

    Args:
        weight: (rows, columns), any float dtype.
        bits: Number of bits of the grid, which ranges from −2^(bits−1) to 2^(bits−1) − 1.

    Returns:
        (rows,) float32, at most the row's largest magnitude.
    """
    values = weight.detach().float()
    largest = values.abs().amax(dim=1, keepdim=True)
    best, least = largest.clone(), torch.full_like(largest, torch.inf)
    levels = 2 ** (bits - 1)
    for candidate in range(MSE_CANDIDATES):
        limit = largest * (1 - candidate / (2 * MSE_CANDIDATES))
        step = (limit / (levels - 0.5)).clamp(min=torch.finfo(torch.float32).tiny)
        rounded = (values.clamp(-limit, limit) / step).round().clamp(-levels, levels - 1) * step
        error = (rounded - values).square().sum(dim=1, keepdim=True)
        best = torch.where(error < least, limit, best)
        least = torch.minimum(error, least)
    return best.squeeze(1)


def clipped(weight: torch.Tensor, config: ClipConfig, bits: int, group_size: int | None = None) -> torch.Tensor:
    """Clip each row of a weight, or each group of a row, at its own limit; gradients pass unchanged.

    Args:
        weight: (rows, columns).
        config: The kind of the limit.
        bits: Number of bits of the grid, which the limit of kind mse depends on.
        group_size: Number of columns that share a limit, a divisor of columns; None for whole rows.

    Returns:
        (rows, columns), in the dtype of `weight`.
    """
    groups = weight if group_size is None else weight.reshape(-1, group_size)
    limit = percentile_limit(groups, config.share) if config.kind == "percentile" else mse_limit(groups, bits)
    limit = limit.to(weight.dtype).unsqueeze(1)
    values = torch.clamp(groups.detach(), -limit, limit).reshape(weight.shape)
    return weight + (values - weight).detach()


# Fake quantizers on the grid of ONNX Runtime's dynamic int8 quantization (QInt8 per channel, QUInt8 activations).
#
# The references are `onnxruntime.quantization.quantize_dynamic` for weights, and the ONNX operator DynamicQuantizeLinear for
# activations (https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html). Every range includes the extremes of its values, so
# that nothing is clipped and the gradient is straight-through everywhere.

INT8_LIMIT = 127  # the symmetric int8 of ONNX Runtime does not use −128
UINT8_STEPS = 255


class Int8PerChannel(nn.Module):
    """Fake quantizer of a weight (outputs, inputs), with a symmetric int8 grid per output channel."""

    enabled = True

    def codes(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the codes, integers from −127 to 127 in float32, (outputs, inputs), and their scales, (outputs,) float32."""
        values = weight.detach().float()
        scale = values.abs().amax(dim=1) / INT8_LIMIT
        scale = torch.where(scale < torch.finfo(torch.float32).tiny, 1.0, scale)  # as in ONNX Runtime
        return torch.round(values / scale.unsqueeze(1)).clamp(-INT8_LIMIT, INT8_LIMIT), scale

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Round a weight to the nearest values of the grid, in its own dtype; gradients pass unchanged."""
        if not self.enabled:
            return weight
        codes, scale = self.codes(weight)
        return _straight_through(weight, codes * scale.unsqueeze(1))


class Uint8PerTensor(nn.Module):
    """Fake quantizer of activations or an embedding table, with one asymmetric uint8 grid that contains 0 for the whole tensor."""

    enabled = True

    def codes(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return codes from 0 to 255 minus the code of zero, in float32 and the shape of `values`, and their scale, () float32."""
        values = values.detach().float()
        low, high = extremes_of_all(*torch.aminmax(values))
        low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low) / UINT8_STEPS
        scale = torch.where(scale == 0, 1.0, scale)
        zero = torch.round(-low / scale).clamp(0, UINT8_STEPS)
        return (torch.round(values / scale) + zero).clamp(0, UINT8_STEPS) - zero, scale

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Round values to the nearest values of the grid, in their own dtype; gradients pass unchanged."""
        if not self.enabled:
            return values
        codes, scale = self.codes(values)
        return _straight_through(values, codes * scale)


class OnnxInt8Linear(FakeQuantizedLinear):
    """torchao's fake-quantized layer, which multiplies codes instead of decoded values and scales the sums, as ONNX Runtime does.

    Both are mathematically equal. In float32, however, sums of decoded values are rounded and sums of codes are exact (below 2^24);
    a difference in the last digit moves a later value into the next cell, and that value moves others. Computed in both ways, the
    embeddings of all-MiniLM have a cosine similarity of only .998. With codes, the remaining differences are those of other
    functions (GELU, softmax).
    """

    @classmethod
    def of(cls, linear: nn.Linear) -> "OnnxInt8Linear":
        """Create the layer that replaces a linear layer and shares its parameters."""
        layer = cls(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        layer.weight, layer.bias = linear.weight, linear.bias
        layer.weight_fake_quantizer, layer.activation_fake_quantizer = Int8PerChannel(), Uint8PerTensor()
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (…, inputs); return (…, outputs)."""
        return self.product(x, self.weight)

    def product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (…, inputs) with another weight, (outputs, inputs); return (…, outputs)."""
        activations, weights = self.activation_fake_quantizer, self.weight_fake_quantizer
        if not (activations.enabled and weights.enabled):
            return nn.functional.linear(activations(x), weights(weight), self.bias)
        product: torch.Tensor = _IntegerProduct.apply(x, weight, activations, weights)
        return product if self.bias is None else product + self.bias.to(product.dtype)


class _IntegerProduct(torch.autograd.Function):
    """Function that computes x @ weight.T with both factors quantized; its gradient is straight-through, at the rounded values."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, activations: Uint8PerTensor, weights: Int8PerChannel
    ) -> torch.Tensor:
        x_codes, x_scale = activations.codes(x)
        weight_codes, weight_scale = weights.codes(weight)
        ctx.save_for_backward(x_codes, x_scale, weight_codes, weight_scale)
        ctx.dtypes = (x.dtype, weight.dtype)
        sums = nn.functional.linear(x_codes, weight_codes)  # autocast to bfloat16 represents every code exactly
        return (sums.float() * (x_scale * weight_scale)).to(sums.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        (gradient,) = gradients
        x_codes, x_scale, weight_codes, weight_scale = ctx.saved_tensors
        x_dtype, weight_dtype = ctx.dtypes
        weight = (weight_codes * weight_scale.unsqueeze(1)).to(gradient.dtype)
        x = (x_codes * x_scale).to(gradient.dtype)
        weight_gradient = gradient.flatten(0, -2).T @ x.flatten(0, -2)
        return (gradient @ weight).to(x_dtype), weight_gradient.to(weight_dtype), None, None


def _straight_through(values: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = _StraightThrough.apply(values, quantized)
    return result


class _StraightThrough(torch.autograd.Function):
    """Function that returns the quantized values and passes the gradient unchanged."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
        return quantized.to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


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
