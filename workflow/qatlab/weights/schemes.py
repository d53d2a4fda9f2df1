"""torchao's configurations of a scheme: the same one prepares a model for training and converts it for deployment."""

import torch
from torchao.quantization import Int8DynamicActivationIntxWeightConfig, IntxWeightOnlyConfig
from torchao.quantization.granularity import PerAxis, PerGroup

from qatlab.config.weights import WeightsConfig


def linear_config(config: WeightsConfig) -> IntxWeightOnlyConfig | Int8DynamicActivationIntxWeightConfig:
    """Of linear layers."""
    dtype = getattr(torch, f"int{config.bits}")
    granularity = PerAxis(0) if config.group_size is None else PerGroup(config.group_size)
    if config.activations == "int8":
        return Int8DynamicActivationIntxWeightConfig(weight_dtype=dtype, weight_granularity=granularity)
    return IntxWeightOnlyConfig(weight_dtype=dtype, granularity=granularity)


def embedding_config(config: WeightsConfig) -> IntxWeightOnlyConfig:
    """Of embedding tables, which have no activations."""
    config = config.model_copy(update={"activations": "float"})
    quantized = linear_config(config)
    assert isinstance(quantized, IntxWeightOnlyConfig)
    return quantized
