"""Weight QAT: fake quantizers are there, on torchao's int8 grid, learn, and leave a plain model behind."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from torchao.quantization import quantize_
from torchao.quantization.qat.linear import FakeQuantizedLinear

from qatlab.config.method import WeightQuantizationConfig
from qatlab.weights import torchao_qat

INT8 = WeightQuantizationConfig(scheme="int8")


@pytest.fixture
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu").eval()


def test_every_linear_layer_is_prepared_and_stripped_to_the_same_weights(model):
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert torchao_qat.prepare(model, INT8) == len(linear) == 13  # 2 layers × 6, and BERT's pooler
    torchao_qat.strip(model)
    assert [type(model.get_submodule(name)) for name in linear] == [nn.Linear] * len(linear)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_forward_pass_is_that_of_the_converted_int8_model(model, pairs, tiny_model):
    texts = [summary for summary, _ in pairs[:16]]
    plain = model.encode(texts, convert_to_tensor=True)
    torchao_qat.prepare(model, INT8)
    faked = model.encode(texts, convert_to_tensor=True)
    converted = SentenceTransformer(str(tiny_model), device="cpu").eval()
    quantize_(converted, torchao_qat.base_config(INT8))
    shipped = converted.encode(texts, convert_to_tensor=True)
    assert not torch.equal(faked, plain)
    assert torch.cosine_similarity(faked, shipped).min() > 0.9999


def test_weights_learn_through_the_fake_quantizers(model):
    torchao_qat.prepare(model, INT8)
    layer = next(module for module in model.modules() if isinstance(module, FakeQuantizedLinear))
    layer(torch.randn(3, layer.in_features)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0


def test_a_model_without_linear_layers_is_refused():
    with pytest.raises(ValueError, match="found no linear layer"):
        torchao_qat.prepare(nn.Sequential(nn.Embedding(3, 4)), INT8)
