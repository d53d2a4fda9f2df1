"""Low-rank adapters (LoRA: Hu et al. 2021, https://arxiv.org/abs/2106.09685) by peft: put in before training, merged after."""

from typing import Any

import peft
import torch
from peft.tuners.lora import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torchao.quantization.qat.linear import FakeQuantizedLinear

from qatlab.config.method import LoraConfig
from qatlab.weights.onnx_grid import OnnxInt8Linear
from qatlab.weights.select import adapted

ADAPTER = "default"


class QuantizedSum(Linear):
    """A linear layer whose weight and adapter are added and then fake-quantized as one, as they will be shipped."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """(…, inputs) to (…, outputs), by the quantizers of the layer it wraps."""
        base = self.base_layer
        weight = base.weight + self.get_delta_weight(ADAPTER)
        if isinstance(base, OnnxInt8Linear):
            return base.product(x, weight)
        if base.activation_fake_quantizer is not None:
            x = base.activation_fake_quantizer(x)
        return nn.functional.linear(x, base.weight_fake_quantizer(weight), base.bias)


def add_adapters(model: nn.Module, config: LoraConfig) -> list[str]:
    """Puts an adapter on each of the layers that `adapted` names, freezes all else, and returns the layers' names.

    Layers that fake-quantize their weights already stay inside. Raises ValueError if no layer matches.
    """
    chosen = adapted(model, config)
    adapters = peft.LoraConfig(
        r=config.r, lora_alpha=config.lora_alpha, lora_dropout=config.lora_dropout, target_modules=chosen
    )
    if config.quantized == "merged":
        adapters._register_custom_module({FakeQuantizedLinear: QuantizedSum})
    peft.inject_adapter_in_model(adapters, model, ADAPTER)
    return chosen


def merge_adapters(model: nn.Module) -> None:
    """Adds every adapter to its weight and leaves the layers that it was put on, as they were before.

    Raises ValueError for an adapter with NaN or Inf.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            model.set_submodule(name, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
