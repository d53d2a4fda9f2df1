"""Fake quantizers on the grid of ONNX Runtime's dynamic int8 quantization (QInt8 by channel, QUInt8 activations).

Reference: `onnxruntime.quantization.quantize_dynamic` for weights, the ONNX operator DynamicQuantizeLinear for activations
(https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html). Limits are kept within every range, so that nothing is
clipped and the gradient is straight-through everywhere.
"""

from typing import Any

import torch
from torch import nn
from torchao.quantization.qat.linear import FakeQuantizedLinear

from qatlab.machine.processes import extremes_of_all

INT8_LIMIT = 127  # the runtime's symmetric int8 leaves −128 out
UINT8_STEPS = 255


class Int8PerChannel(nn.Module):
    """A weight (outputs, inputs), each output channel on its own symmetric int8 grid."""

    enabled = True

    def codes(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Integers from −127 to 127 in float32, (outputs, inputs), and what one of them is worth, (outputs,) float32."""
        values = weight.detach().float()
        scale = values.abs().amax(dim=1) / INT8_LIMIT
        scale = torch.where(scale < torch.finfo(torch.float32).tiny, 1.0, scale)  # as the runtime has it
        return torch.round(values / scale.unsqueeze(1)).clamp(-INT8_LIMIT, INT8_LIMIT), scale

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The nearest values of the grid, in the weight's dtype; gradients pass unchanged."""
        if not self.enabled:
            return weight
        codes, scale = self.codes(weight)
        return _straight_through(weight, codes * scale.unsqueeze(1))


class Uint8PerTensor(nn.Module):
    """Activations, or an embedding table: one asymmetric uint8 grid over the whole tensor, zero always on it."""

    enabled = True

    def codes(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes from 0 to 255 less that of zero, in float32, in the shape of the values; and what one is worth, () float32."""
        values = values.detach().float()
        low, high = extremes_of_all(*torch.aminmax(values))
        low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low) / UINT8_STEPS
        scale = torch.where(scale == 0, 1.0, scale)
        zero = torch.round(-low / scale).clamp(0, UINT8_STEPS)
        return (torch.round(values / scale) + zero).clamp(0, UINT8_STEPS) - zero, scale

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The nearest values of the grid, in the values' dtype; gradients pass unchanged."""
        if not self.enabled:
            return values
        codes, scale = self.codes(values)
        return _straight_through(values, codes * scale)


class OnnxInt8Linear(FakeQuantizedLinear):
    """torchao's layer, multiplying codes instead of the values they stand for, and scaling the sums, as the runtime does.

    On paper that is the same. In float32 the values' sums are rounded, the codes' are not (below 2^24); and a difference in the
    last digit moves a later value into the next cell, and that others: computed both ways, all-MiniLM's embeddings have cosine
    similarity .998 only. Multiplying codes leaves what other functions (GELU, softmax) round differently.
    """

    @classmethod
    def of(cls, linear: nn.Linear) -> "OnnxInt8Linear":
        """In place of a linear layer, with its very parameters."""
        layer = cls(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        layer.weight, layer.bias = linear.weight, linear.bias
        layer.weight_fake_quantizer, layer.activation_fake_quantizer = Int8PerChannel(), Uint8PerTensor()
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, inputs) to (…, outputs)."""
        return self.product(x, self.weight)

    def product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """The same by another weight, (outputs, inputs)."""
        activations, weights = self.activation_fake_quantizer, self.weight_fake_quantizer
        if not (activations.enabled and weights.enabled):
            return nn.functional.linear(activations(x), weights(weight), self.bias)
        product: torch.Tensor = _IntegerProduct.apply(x, weight, activations, weights)
        return product if self.bias is None else product + self.bias.to(product.dtype)


class _IntegerProduct(torch.autograd.Function):
    """x @ weight.T on the grids of both; the gradient is straight-through, at the values of the grids."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, activations: Uint8PerTensor, weights: Int8PerChannel
    ) -> torch.Tensor:
        x_codes, x_scale = activations.codes(x)
        weight_codes, weight_scale = weights.codes(weight)
        ctx.save_for_backward(x_codes, x_scale, weight_codes, weight_scale)
        ctx.dtypes = (x.dtype, weight.dtype)
        sums = nn.functional.linear(x_codes, weight_codes)  # under autocast in bfloat16, which holds every code exactly
        return (sums.float() * (x_scale * weight_scale)).to(sums.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        (gradient,) = gradients
        x_codes, x_scale, weight_codes, weight_scale = ctx.saved_tensors
        x_dtype, weight_dtype = ctx.dtypes
        weight = (weight_codes * weight_scale.unsqueeze(1)).to(gradient.dtype)
        x = (x_codes * x_scale).to(gradient.dtype)
        of_weight = gradient.flatten(0, -2).T @ x.flatten(0, -2)
        return (gradient @ weight).to(x_dtype), of_weight.to(weight_dtype), None, None


def _straight_through(values: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = _StraightThrough.apply(values, quantized)
    return result


class _StraightThrough(torch.autograd.Function):
    """The quantized values forward, the gradient unchanged back."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
        return quantized.to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None
