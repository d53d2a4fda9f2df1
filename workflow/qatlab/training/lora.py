"""Low-rank adapters (LoRA: Hu et al. 2021, https://arxiv.org/abs/2106.09685) by peft, added before and merged after training."""

from typing import Any

import peft
import torch
from peft.tuners.lora import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torchao.quantization.qat.linear import FakeQuantizedLinear

from qatlab.config.method import LoraConfig
from qatlab.weights.prepare import OnnxInt8Linear
from qatlab.weights.select import adapted

ADAPTER = "default"


class QuantizedSum(Linear):
    """Linear layer that fake-quantizes the sum of weight and adapter, which is the weight that will be deployed."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the outputs, (…, outputs), of inputs x, (…, inputs), with the quantizers of the wrapped layer.

        Args:
            x: inputs, (…, inputs).
            args: unused; peft passes them.
            kwargs: unused; peft passes them.
        """
        base = self.base_layer
        weight = base.weight + self.get_delta_weight(ADAPTER)
        if isinstance(base, OnnxInt8Linear):
            return base.product(x, weight)
        if base.activation_fake_quantizer is not None:
            x = base.activation_fake_quantizer(x)
        return nn.functional.linear(x, base.weight_fake_quantizer(weight), base.bias)


def add_adapters(model: nn.Module, config: LoraConfig) -> list[str]:
    """Add an adapter to each layer that `adapted` selects, and freeze all other parameters.

    Layers that already fake-quantize their weights are wrapped and kept.

    Returns:
        The names of the layers.

    Raises:
        ValueError: if no layer matches.
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
    """Add every adapter to the weight of its layer, and restore the layers without adapters.

    Raises:
        ValueError: for an adapter with NaN or Inf.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            model.set_submodule(name, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
