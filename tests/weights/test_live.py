"""A scheme without effect is detected in compiled and uncompiled models."""

import pytest
import torch
from sentence_transformers import SentenceTransformer

from qatlab.config.weights import WeightsConfig
from qatlab.weights.prepare import changed_share, check_live, enable, prepare, prepared

INT4 = WeightsConfig(name="int4", bits=4, group_size=32)


@pytest.fixture
def model(tiny_model):
    model = SentenceTransformer(str(tiny_model), device="cpu").eval()
    prepare(model, INT4)
    return model


@pytest.fixture
def texts(pairs):
    return [summary for summary, _ in pairs[:4]]


def test_effective_quantizers_pass_and_stay_enabled(model, texts):
    check_live(model, lambda: model.encode(texts, convert_to_tensor=True))
    assert all(changed_share(layer) > 0.5 for layer in prepared(model).values())


def test_weights_that_already_lie_on_the_grid_are_detected(model, texts):
    layer = next(iter(prepared(model).values()))
    with torch.no_grad():
        layer.weight.zero_()
    with pytest.raises(RuntimeError, match=r"changes no weight of 0\..* \(1 such layers\)"):
        check_live(model, lambda: model.encode(texts, convert_to_tensor=True))


def test_a_quantizer_that_the_forward_pass_skips_is_detected(model, texts):
    for layer in prepared(model).values():
        layer.forward = lambda x, layer=layer: torch.nn.functional.linear(x, layer.weight, layer.bias)
    with pytest.raises(RuntimeError, match="changes no output"):
        check_live(model, lambda: model.encode(texts, convert_to_tensor=True))


@pytest.mark.slow(8)
def test_quantizers_of_a_compiled_model_can_be_disabled(model, texts):
    model[0].compile(backend="eager", dynamic=True)  # Dynamo's tracing and guards, where a branch can be lost
    check_live(model, lambda: model.encode(texts, convert_to_tensor=True))
    enable(model, weights=False, activations=False)
    plain = model.encode(texts, convert_to_tensor=True)
    enable(model, weights=True, activations=True)
    assert not torch.equal(model.encode(texts, convert_to_tensor=True), plain)
