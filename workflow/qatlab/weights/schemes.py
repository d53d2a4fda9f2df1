"""torchao's configuration of a scheme, which both prepares a model for training and converts it for deployment."""

import torch
from torchao.core.config import AOBaseConfig
from torchao.quantization import (
    Float8DynamicActivationFloat8WeightConfig,
    Float8DynamicActivationInt4WeightConfig,
    Int4WeightOnlyConfig,
    Int8DynamicActivationIntxWeightConfig,
    IntxWeightOnlyConfig,
)
from torchao.quantization.granularity import PerAxis, PerGroup, PerRow

from qatlab.config.weights import WeightsConfig


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
