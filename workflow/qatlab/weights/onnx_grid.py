"""Fake quantizers on the grid of ONNX Runtime's dynamic int8 quantization (QInt8 per channel, QUInt8 activations).

The references are `onnxruntime.quantization.quantize_dynamic` for weights, and the ONNX operator DynamicQuantizeLinear for
activations (https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html). Every range includes the extremes of its values, so
that nothing is clipped and the gradient is straight-through everywhere.
"""

from typing import Any

import torch
from torch import nn
from torchao.quantization.qat.linear import FakeQuantizedLinear

from qatlab.machine.processes import extremes_of_all

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
