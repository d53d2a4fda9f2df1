"""Schemes for GPU kernels: fake quantizers run on every machine; conversion and inference need the GPU."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torchao.quantization import (
    Float8DynamicActivationFloat8WeightConfig,
    Float8DynamicActivationInt4WeightConfig,
    Int4WeightOnlyConfig,
    PerRow,
    quantize_,
)
from torchao.quantization.qat import QATConfig

from qatlab.config.method import MethodConfig
from qatlab.config.weights import WeightsConfig
from qatlab.weights.prepare import changed_share, enable, prepare, prepared, strip

ANYWHERE = {
    "float8": WeightsConfig(name="float8", grid="float8", activations="float8"),
    "float8_int4": WeightsConfig(name="float8_int4", grid="float8_int4", bits=4, group_size=128, activations="float8"),
    "int4_kernel": WeightsConfig(name="int4_kernel", grid="int4_kernel", bits=4, group_size=128),
}
BLOCKS = {
    "nvfp4": WeightsConfig(name="nvfp4", grid="nvfp4", bits=4, group_size=16, activations="nvfp4"),
    "mxfp8": WeightsConfig(name="mxfp8", grid="mxfp8", group_size=32, activations="mxfp8"),
    "mxfp4": WeightsConfig(name="mxfp4", grid="mxfp4", bits=4, group_size=32, activations="mxfp4"),
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(256, 128), nn.GELU(), nn.Linear(128, 64))


@pytest.mark.parametrize("config", ANYWHERE.values(), ids=lambda config: config.name)
def test_training_sees_the_grid_and_learns_through_it(model, config):
    values = torch.randn(8, 256)
    plain = model(values)
    assert prepare(model, config) == ["0", "2"]
    quantized = model(values)
    assert not torch.equal(quantized, plain)
    assert torch.cosine_similarity(quantized, plain).min() > 0.97
    assert all(changed_share(layer) > 0.5 for layer in prepared(model).values())
    quantized.sum().backward()
    assert all(layer.weight.grad.abs().sum() > 0 for layer in prepared(model).values())
    enable(model, weights=False, activations=False)
    assert torch.equal(model(values), plain)
    strip(model)
    assert [type(module) for module in model] == [nn.Linear, nn.GELU, nn.Linear]


@pytest.mark.parametrize(
    ("scheme", "theirs"),
    [
        ("float8", Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())),
        ("float8_int4", Float8DynamicActivationInt4WeightConfig()),
        ("int4_kernel", Int4WeightOnlyConfig(group_size=128)),
    ],
)
def test_the_grids_are_torchaos(model, scheme, theirs):
    values, other = torch.randn(8, 256), deepcopy(model)
    prepare(model, ANYWHERE[scheme])
    quantize_(other, QATConfig(theirs, step="prepare"))
    assert torch.equal(model(values), other(values))


@pytest.mark.parametrize("config", BLOCKS.values(), ids=lambda config: config.name)
def test_block_formats_are_prepared_switched_and_stripped(model, config):
    """Only their forward pass needs a GPU."""
    values = torch.randn(8, 256)
    plain = model(values)
    assert prepare(model, config) == list(prepared(model)) == ["0", "2"]
    enable(model, weights=False, activations=False)
    assert torch.equal(model(values), plain)
    enable(model, weights=True, activations=True)
    for layer in prepared(model).values():  # torchao's own forward pass again, not that of a plain layer
        assert layer.forward.__func__ is type(layer).forward is not nn.Linear.forward
    strip(model)
    assert torch.equal(model(values), plain)


@pytest.mark.parametrize("config", BLOCKS.values(), ids=lambda config: config.name)
def test_blocks_that_do_not_fit_are_named(config):
    with pytest.raises(ValueError, match="does not divide the 40 inputs of 0"):
        prepare(nn.Sequential(nn.Linear(40, 8)), config)


def test_fields_that_kernels_do_not_support_are_refused():
    with pytest.raises(
        ValueError, match="grid float8 supports what its kernels do: bits 8, group_size null, activations float8"
    ):
        WeightsConfig(name="mine", grid="float8", bits=4, activations="float8")
    with pytest.raises(ValueError, match="group_size 128 or 64 or 32"):
        WeightsConfig(name="mine", grid="int4_kernel", bits=4, group_size=24)
    with pytest.raises(ValueError, match="grid torchao does not support activations mxfp8"):
        WeightsConfig(name="mine", activations="mxfp8")
    scheme = BLOCKS["nvfp4"].model_dump()
    for method, message in (
        ({"lora": {"quantized": "merged"}}, "set lora.quantized: base"),
        ({"weights_start": {"activations": {"steps": 3}}}, "leave weights_start.activations out"),
    ):
        with pytest.raises(ValueError, match=message):
            MethodConfig.model_validate({"name": "mine", "weights": scheme, **method})
