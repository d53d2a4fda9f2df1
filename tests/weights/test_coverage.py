"""Coverage of a scheme; too small a share is refused unless `modules` selects the layers."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from qatlab.config.weights import WeightsConfig
from qatlab.deployments.backends.torchao import convert
from qatlab.weights.select import coverage, selected

INT4 = WeightsConfig(name="int4", bits=4, group_size=32)


@pytest.fixture
def gpt2():
    """Its layers are Conv1D; its output head, which is linear, shares the embedding table."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=2, n_positions=16))


def test_layers_of_another_class_count_as_not_quantized(gpt2):
    with pytest.raises(
        ValueError, match=r"'int4' quantizes 0 of the 24,576 weights .* of the class Conv1D, such as transformer.h.1"
    ):
        selected(gpt2, INT4)
    named = INT4.model_copy(update={"modules": "lm_head"})
    assert list(selected(gpt2, named)) == ["lm_head"]


def test_all_linear_layers_are_all_weights(model):
    chosen = selected(model, INT4)
    counts = coverage(model, chosen.values())
    linear = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    assert counts == (linear, linear)
    assert counts.share == 1.0


def test_embedding_tables_do_not_count(model):
    config = WeightsConfig(name="int8", embeddings=True)
    assert coverage(model, selected(model, config).values()).share == 1.0


def test_coverage_is_a_share_if_modules_select_some_layers(model):
    named = INT4.model_copy(update={"modules": r".*\.query"})
    layers, counts = convert(model, named)
    assert len(layers) == 2
    assert counts.quantized_weights == 2 * 32 * 32
    assert 0 < counts.share < 0.5
