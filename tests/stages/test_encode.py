"""encode: every way of deploying, from the folder that deploy writes; what the forward pass of training gives."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from qatlab.config.weights import WeightsConfig
from qatlab.deployments.deployment import cosine
from qatlab.deployments.torch import TorchDeployment
from qatlab.families.embedding import encode as embeddings
from qatlab.job import JobDescription
from qatlab.stages import deploy, encode
from qatlab.weights.prepare import prepare

pytestmark = pytest.mark.slow(25)

INT4 = {"name": "int4", "bits": 4, "group_size": 32}
MXFP8 = {"name": "mxfp8", "grid": "mxfp8", "group_size": 32, "activations": "mxfp8"}
ONNX_INT8 = {"name": "onnx_int8", "grid": "onnx_int8", "activations": "int8", "embeddings": True}


def distance(a, b):
    return (1 - cosine(a, b)).mean()


@pytest.fixture(scope="module")
def texts(pairs):
    return [text for pair in pairs[80:100] for text in pair]


@pytest.fixture(scope="module")
def encoded(tiny_model, training_data, texts, tmp_path_factory):
    """Deploy and encode as the stages do, once per configuration; return the embeddings and the folder of the encoding."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "model").mkdir()
    (folder / "model" / "model").symlink_to(tiny_model)
    (folder / "texts").mkdir()
    pd.DataFrame({"id": map(str, range(len(texts))), "text": texts}).to_parquet(folder / "texts" / "documents.parquet")
    artifacts = {"model": folder / "model", "data": training_data}
    results = {}

    def run(name, config):
        key = json.dumps(config, sort_keys=True)
        if key not in results:
            results[key] = run_stages(name, config)
        return results[key]

    def run_stages(name, config):
        for kind in ("deploy", "encode"):
            (folder / f"{kind}-{name}").mkdir()
        deployed, output = folder / f"deploy-{name}", folder / f"encode-{name}"
        deploy.run(JobDescription(label=name, config=config), artifacts, deployed, 2)
        (deployed / "config.json").write_text(json.dumps({"config": config}))
        inputs = {"deploy": deployed, "texts": folder / "texts"}
        encode.run(JobDescription(label=name, config={"batch_size": 16}), inputs, output, 2)
        return np.load(output / "documents.npy"), output

    run("float", {"backend": "onnx"})
    artifacts["float"] = folder / "deploy-float"
    return run


def test_a_set_of_texts_has_no_queries(encoded, texts):
    embeddings, folder = encoded("torch", {"backend": "torch"})
    assert embeddings.shape == (len(texts), 32)
    assert not (folder / "queries.npy").exists()
    assert json.loads((folder / "machine.json").read_text())["integer_kernel"] is None


@pytest.mark.parametrize(
    "config",
    [
        {"backend": "onnx", "quantization": {"mode": "IntegerOps"}},
        {"backend": "onnx", "quantization": {"mode": "QDQ", "calibration_texts": 32}},
        {"backend": "openvino", "quantization": {"calibration_texts": 32}},
    ],
    ids=["dynamic", "static", "openvino"],
)
def test_int8_runtimes_say_what_they_multiplied_with(encoded, request, config):
    embeddings, folder = encoded(request.node.callspec.id, config)
    machine = json.loads((folder / "machine.json").read_text())
    assert machine["integer_kernel"]
    assert machine["integer_kernel"] in [*machine["features"], machine["integer_kernel"]]
    assert np.isfinite(embeddings).all()


def test_bfloat16_is_half_the_size_and_nearly_the_same(encoded, tiny_model, texts):
    embeddings, folder = encoded("bf16", {"backend": "torch", "dtype": "bfloat16"})
    plain = SentenceTransformer(str(tiny_model), device="cpu").encode(texts)
    assert cosine(embeddings, plain).min() > 0.999
    assert not np.array_equal(embeddings, plain)
    stored = json.loads((folder.parent / "deploy-bf16" / "cost.json").read_text())["bytes"]
    assert stored < 0.55 * sum(file.stat().st_size for file in tiny_model.rglob("*.safetensors"))


@pytest.mark.parametrize("scheme", [INT4, ONNX_INT8], ids=lambda scheme: scheme["name"])
def test_simulated_is_the_forward_pass_of_training(encoded, tiny_model, texts, scheme):
    embeddings, _ = encoded(f"simulated-{scheme['name']}", {"backend": "torch", "weights": scheme, "simulated": True})
    model = SentenceTransformer(str(tiny_model), device="cpu")
    plain = model.encode(texts)
    prepare(model, WeightsConfig.model_validate(scheme))
    # Ranges of activations are found by batch, and the library's batches are others: equal but for that.
    assert distance(embeddings, model.encode(texts, batch_size=16)) < 0.1 * distance(embeddings, plain)


def on_symmetric_grid(weight):
    """Each row rounded to ±127 steps of its largest value, in NumPy."""
    step = np.abs(weight).max(axis=1, keepdims=True) / np.float32(127)
    return np.rint(weight / step) * step


def on_tensors_grid(table):
    """The whole rounded to 255 steps, one of them at zero, in NumPy."""
    low, high = min(table.min(), 0), max(table.max(), 0)
    step = np.float32(high - low) / np.float32(255)
    zero = np.rint(-low / step)
    return (np.clip(np.rint(table / step) + zero, 0, 255) - zero) * step


def test_of_a_simulation_weights_alone_are_quantized_and_activations_left_as_they_are(encoded, tiny_model, texts):
    simulated = {"backend": "torch", "weights": ONNX_INT8, "simulated": True}
    alone, _ = encoded("weights-alone", {**simulated, "activations": False})
    both, _ = encoded("weights-and-activations", simulated)
    model = SentenceTransformer(str(tiny_model), device="cpu")
    plain = model.encode(texts)
    for layer in model.modules():
        rounded = {nn.Linear: on_symmetric_grid, nn.Embedding: on_tensors_grid}.get(type(layer))
        if rounded is not None:
            layer.weight.data = torch.from_numpy(rounded(layer.weight.detach().numpy()))
    by_hand = model.encode(texts)
    for other in (both, plain):
        assert np.abs(alone - by_hand).max() < 0.05 * np.abs(alone - other).max()


def test_the_forward_pass_of_training_is_what_is_shipped_on_its_grid_and_seen_not_to_be_elsewhere(encoded):
    trained, _ = encoded("as-trained", {"backend": "torch", "weights": ONNX_INT8, "simulated": True})
    shipped, _ = encoded("shipped", {"backend": "onnx", "quantization": {"mode": "IntegerOps"}})
    assert cosine(trained, shipped).min() >= 0.9995
    other, _ = encoded("other", {"backend": "torch", "weights": {**INT4, "bits": 2}})
    assert distance(trained, shipped) < 0.1 * distance(trained, other)


def test_stripped_and_exported_it_is_the_float_model(encoded, tiny_model, texts):
    model = SentenceTransformer(str(tiny_model), device="cpu")
    from qatlab.weights.prepare import strip

    prepare(model, WeightsConfig.model_validate(INT4))
    strip(model)
    embeddings, _ = encoded("export", {"backend": "onnx"})
    assert np.abs(embeddings - model.encode(texts)).max() <= 1e-5


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"simulated": True}, "simulated needs weights"),
        ({"activations": False}, "activations: false is for a simulated scheme"),
        ({"activations": False, "weights": {**INT4, "activations": "int8"}}, "is for a simulated scheme"),
        ({"activations": False, "weights": INT4, "simulated": True}, "'int4' does not quantize activations"),
        (
            {"activations": False, "weights": MXFP8, "simulated": True},
            "'mxfp8' quantizes weights and activations together",
        ),
        ({"dtype": "bfloat16", "weights": INT4}, "quantized weights and dtype bfloat16 cannot be combined"),
    ],
)
def test_deployments_that_cannot_be_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        TorchDeployment.model_validate({"backend": "torch", **config})


def test_a_gpu_is_asked_for_where_it_can_be_used():
    torch_, simulated, converted = (
        TorchDeployment.model_validate({"backend": "torch", **config})
        for config in ({}, {"weights": INT4, "simulated": True}, {"weights": INT4})
    )
    assert (torch_.runs_on_gpu, simulated.runs_on_gpu, converted.runs_on_gpu) == (True, True, False)


def test_rows_are_in_the_order_of_the_texts_whatever_they_are_batched_by(tiny_model, pairs):
    texts = [text for pair in pairs[:20] for text in pair]
    encoder = TorchDeployment(backend="torch").encoder(tiny_model, 1)
    together = embeddings._encode(encoder, texts, "", 2, "some")  # in blocks of 16
    alone = np.concatenate([encoder.encode([text], 1) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)
