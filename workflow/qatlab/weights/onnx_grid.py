"""Fake quantizers on the grid of ONNX Runtime's dynamic int8 quantization (QInt8 by channel, QUInt8 activations).

Reference: `onnxruntime.quantization.quantize_dynamic` for weights, the ONNX operator DynamicQuantizeLinear for activations
(https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html). Limits are kept within every range, so that nothing is
clipped and the gradient is straight-through everywhere.
"""

import torch
from torch import nn

INT8_LIMIT = 127  # the runtime's symmetric int8 leaves −128 out
UINT8_STEPS = 255


class Int8PerChannel(nn.Module):
    """A weight (outputs, inputs), each output channel on its own symmetric int8 grid."""

    enabled = True

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The nearest values of the grid, in the weight's dtype; gradients pass unchanged."""
        if not self.enabled:
            return weight
        values = weight.detach().float()
        scale = values.abs().amax(dim=1) / INT8_LIMIT
        scale = torch.where(scale < torch.finfo(torch.float32).tiny, 1.0, scale)  # as the runtime has it
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight.float(), scale, zero, 0, -INT8_LIMIT, INT8_LIMIT).to(
            weight.dtype
        )


class Uint8PerTensor(nn.Module):
    """Activations, or an embedding table: one asymmetric uint8 grid over the whole tensor, zero always on it."""

    enabled = True

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The nearest values of the grid, in the values' dtype; gradients pass unchanged."""
        if not self.enabled:
            return values
        low, high = torch.aminmax(values.detach().float())
        low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low) / UINT8_STEPS
        scale = torch.where(scale == 0, 1.0, scale)
        zero = torch.round(-low / scale).clamp(0, UINT8_STEPS).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(values.float(), scale, zero, 0, UINT8_STEPS).to(values.dtype)
