"""One export per architecture: a model's ONNX file is that of its own export, whichever model was exported first."""

import base64
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import miniatures
from qatlab import remembered
from qatlab.deployments.backends import onnx_export
from qatlab.models.embedding import load_model

OPSET = 18


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Folders of small encoders by architecture."""
    folder = tmp_path_factory.mktemp("encoders")
    return {name: miniatures.encoder(folder / name, name) for name in ("bert", "qwen3")}


@pytest.fixture
def exports(monkeypatch):
    """A list with one entry per export."""
    calls, export = [], onnx_export._exported

    def counted(*arguments):
        calls.append(arguments)
        return export(*arguments)

    monkeypatch.setattr(onnx_export, "_exported", counted)
    return calls


def untrained(folder):
    """The model of a folder, whose biases are zero, as before any training; an exporter may store equal tensors once."""
    model = load_model(folder, dtype="float32")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    return model


def trained(folder):
    """The model of a folder with other weights, no two of which are equal."""
    model = load_model(folder, dtype="float32")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def parts(model):
    """The model as a function of tensors, and inputs for its export."""
    whole = onnx_export._WholeModel(model).eval()
    return whole, onnx_export._tokens(model, onnx_export.EXAMPLES)


def architecture(model):
    """All that determines the graph of a model."""
    whole, inputs = parts(model)
    return onnx_export._architecture(whole, model, list(inputs), OPSET)


@pytest.mark.slow(40)
@pytest.mark.parametrize("name", ["bert", "qwen3"])
def test_the_second_model_of_an_architecture_has_the_file_of_an_export_without_one(
    name, encoders, exports, tmp_path, monkeypatch
):
    monkeypatch.setattr(remembered, "cache_folder", lambda: tmp_path / "cache")
    first, second = untrained(encoders[name]), trained(encoders[name])
    before = {key: value.clone() for key, value in first.state_dict().items()}
    onnx_export.export_graph(first, tmp_path / "first.onnx", OPSET, "first")
    onnx_export.export_graph(second, tmp_path / "second.onnx", OPSET, "second")
    assert len(exports) == 1
    assert all(torch.equal(value, before[key]) for key, value in first.state_dict().items())
    onnx_export.export_graph(second, tmp_path / "own.onnx", OPSET, "second", reuse=False)
    assert len(exports) == 2
    filled, own = onnx.load(tmp_path / "second.onnx").graph, onnx.load(tmp_path / "own.onnx").graph
    assert filled.node == own.node
    weights = {value.name: numpy_helper.to_array(value) for value in filled.initializer}
    assert weights.keys() == {value.name for value in own.initializer}
    for value in own.initializer:
        np.testing.assert_array_equal(weights[value.name], numpy_helper.to_array(value))


@pytest.mark.slow(20)
def test_a_template_that_gives_other_embeddings_is_not_used(encoders, exports, tmp_path, monkeypatch):
    model = trained(encoders["bert"])
    template = onnx.load_from_string(base64.b64decode(onnx_export._template(*parts(model), OPSET, "bert")))
    place = next(value for value in template.graph.initializer if value.doc_string.endswith("query.weight"))
    place.doc_string = place.doc_string.replace("query", "key")
    wrong = base64.b64encode(template.SerializeToString()).decode()
    monkeypatch.setattr(onnx_export, "remembered", lambda *arguments: wrong)
    onnx_export.export_graph(model, tmp_path / "model.onnx", OPSET, "bert")
    assert len(exports) == 2
    onnx_export.check_graph(model, tmp_path / "model.onnx", "bert")


@pytest.mark.parametrize(("factor", "has_template"), [(1, True), (2, False)])
def test_a_graph_with_numbers_that_may_depend_on_weights_has_no_template(factor, has_template, encoders, monkeypatch):
    whole, inputs = parts(trained(encoders["bert"]))
    before = {key: value.clone() for key, value in whole.state_dict().items()}

    def exported(*arguments):
        weight = next(value for key, value in whole.state_dict().items() if key.endswith("query.weight")).numpy()
        content = {"same": weight, "transposed": factor * weight.T, "scalar": np.float32(2), "ids": np.arange(3)}
        values = [numpy_helper.from_array(np.asarray(array), name) for name, array in content.items()]
        return SimpleNamespace(model_proto=onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], values)))

    monkeypatch.setattr(onnx_export, "_exported", exported)
    assert (onnx_export._template(whole, inputs, OPSET, "bert") is not None) is has_template
    assert all(torch.equal(value, before[key]) for key, value in whole.state_dict().items())


def test_what_changes_the_graph_is_another_architecture(encoders):
    plain = architecture(untrained(encoders["bert"]))
    assert plain == architecture(trained(encoders["bert"]))
    assert plain != architecture(untrained(encoders["qwen3"]))
    changed = [untrained(encoders["bert"]) for _ in range(4)]
    changed[0].truncate_dim = 8
    changed[1].append(torch.nn.Tanh())
    changed[2][0].auto_model.config.layer_norm_eps = 1e-3
    changed[3][1].pooling_mode = "cls"
    assert all(architecture(model) != plain for model in changed)
