"""Weight QAT: fake quantizers are in the selected layers, have the deployed grid, learn, and can be removed."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from qatlab.config.weights import ClipConfig, WeightsConfig
from qatlab.deployments.backends.torchao import convert
from qatlab.weights.prepare import enable, prepare, prepared, strip

SCHEMES = {
    "int8": WeightsConfig(name="int8"),
    "int6": WeightsConfig(name="int6", bits=6),
    "int4": WeightsConfig(name="int4", bits=4, group_size=32),
    "int3": WeightsConfig(name="int3", bits=3, group_size=32),
    "int2": WeightsConfig(name="int2", bits=2, group_size=32),
    "int8_int4": WeightsConfig(name="int8_int4", bits=4, group_size=32, activations="int8"),
    "int8_int8": WeightsConfig(name="int8_int8", activations="int8"),
    "int4_embeddings": WeightsConfig(name="int4_embeddings", bits=4, group_size=32, embeddings=True),
    "int8_int8_embeddings": WeightsConfig(name="int8_int8_embeddings", activations="int8", embeddings=True),
    "int4_percentile": WeightsConfig(
        name="int4_percentile", bits=4, group_size=32, clip=ClipConfig(kind="percentile", share=0.95)
    ),
    "int3_mse": WeightsConfig(name="int3_mse", bits=3, clip=ClipConfig(kind="mse")),
}
ONNX_INT8 = WeightsConfig(name="onnx_int8", grid="onnx_int8", activations="int8", embeddings=True)
ALL = pytest.mark.parametrize("config", [*SCHEMES.values(), ONNX_INT8], ids=lambda config: config.name)


@ALL
def test_the_returned_layers_are_prepared_and_stripped_to_the_same_weights(model, config):
    kinds = (nn.Linear, nn.Embedding) if config.embeddings else (nn.Linear,)
    layers = {name: type(module) for name, module in model.named_modules() if isinstance(module, kinds)}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert set(prepare(model, config)) == set(prepared(model)) == set(layers)
    assert len(layers) == (16 if config.embeddings else 13)  # 2 layers × 6, BERT's pooler, 3 embedding tables
    strip(model)
    assert {name: type(model.get_submodule(name)) for name in layers} == layers
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("config", SCHEMES.values(), ids=lambda config: config.name)
def test_the_forward_pass_in_training_is_that_of_the_converted_model(model, texts, tiny_model, config):
    plain = model.encode(texts, convert_to_tensor=True)
    prepare(model, config)
    faked = model.encode(texts, convert_to_tensor=True)
    shipped = SentenceTransformer(str(tiny_model), device="cpu").eval()
    convert(shipped, config)
    assert not torch.equal(faked, plain)
    assert torch.cosine_similarity(faked, shipped.encode(texts, convert_to_tensor=True)).min() >= 0.9999


def test_clipping_moves_the_grid(model, texts):
    embeddings = {}
    for name in ("int4", "int4_percentile"):
        prepare(model, SCHEMES[name])
        embeddings[name] = model.encode(texts, convert_to_tensor=True)
        strip(model)
    difference = embeddings["int4"] - embeddings["int4_percentile"]
    assert difference.abs().amax(dim=1).min() > 1e-4  # in every text


@ALL
def test_weights_learn_through_the_fake_quantizers(model, texts, config):
    prepare(model, config)
    features = model.preprocess(texts)
    model({key: value for key, value in features.items() if torch.is_tensor(value)})["sentence_embedding"][
        :, 0
    ].sum().backward()
    used = {name: layer for name, layer in prepared(model).items() if "pooler" not in name}
    assert len(used) >= 12
    assert all(layer.weight.grad.abs().sum() > 0 for name, layer in used.items() if "attention.self.key" not in name)


@ALL
def test_weights_and_activations_are_disabled_separately_and_disabled_quantizers_change_nothing(model, texts, config):
    plain = model.encode(texts, convert_to_tensor=True)
    prepare(model, config)
    seen = {}
    for weights, activations in ((False, False), (True, False), (False, True)):
        enable(model, weights=weights, activations=activations)
        seen[weights, activations] = model.encode(texts, convert_to_tensor=True)
    assert torch.equal(seen[False, False], plain)
    assert not torch.equal(seen[True, False], plain)
    assert torch.equal(seen[False, True], plain) == (config.activations == "float")


def test_only_matching_modules(model):
    config = WeightsConfig(name="attention", modules=r".*\.attention\..*")
    names = prepare(model, config)
    assert len(names) == 8
    assert all(".attention." in name for name in names)


def test_a_filter_that_matches_nothing_is_refused_before_anything_is_changed(model):
    with pytest.raises(
        ValueError, match=r"'int8' quantizes nothing: modules 'decoder' matches no layer .*it has 13, such as 0\."
    ):
        prepare(model, WeightsConfig(name="int8", modules="decoder"))
    with pytest.raises(ValueError, match="it has no such layer"):
        prepare(nn.Sequential(nn.Embedding(3, 4)), SCHEMES["int8"])
    assert not prepared(model)


@pytest.mark.parametrize("act", [prepare, convert])
def test_unsuitable_group_sizes_raise_an_error_with_the_layer_and_suitable_sizes(model, act):
    with pytest.raises(ValueError, match=r"group_size 24 does not divide the 32 inputs of 0\..*these do: 32, 16, 8"):
        act(model, WeightsConfig(name="int4", bits=4, group_size=24))


def test_the_grid_of_onnx_runtime_is_not_converted_by_torchao(model):
    with pytest.raises(ValueError, match="deploy it as onnx_int8"):
        convert(model, ONNX_INT8)


def test_the_grid_of_onnx_runtime_has_fixed_fields():
    with pytest.raises(ValueError, match="bits 8, no group_size"):
        WeightsConfig(name="onnx_int8", grid="onnx_int8", bits=4, activations="int8", embeddings=True)
