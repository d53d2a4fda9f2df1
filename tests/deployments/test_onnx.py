"""ONNX deployments against Sentence Transformers' own backends and ONNX Runtime's own quantizer."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic
from sentence_transformers import SentenceTransformer

import miniatures
from conftest import needs_optimum
from qatlab.deployments.backends.onnx_export import export
from qatlab.deployments.backends.onnx_quantized import quantize_dynamically
from qatlab.deployments.backends.onnx_runtime import OnnxEncoder
from qatlab.deployments.deployment import shared_names
from qatlab.deployments.onnx import ONNX_FILE, DynamicQuantization, OnnxDeployment
from qatlab.errors import UserError

pytestmark = pytest.mark.slow(27)


@pytest.fixture(scope="module")
def quantized(tiny_onnx, tmp_path_factory):
    target = tmp_path_factory.mktemp("int8") / "model"
    quantize_dynamically(tiny_onnx, target, DynamicQuantization())
    return target


def texts(pairs):
    return [text for pair in pairs[:40] for text in pair]


def test_export_equals_torch_on_texts_of_all_lengths(tiny_model, tiny_onnx, pairs):
    expected = SentenceTransformer(str(tiny_model), device="cpu").encode(texts(pairs))
    ours = OnnxEncoder(tiny_onnx, 1).encode(texts(pairs), 8)
    assert ours.dtype == np.float32
    assert np.abs(ours - expected).max() < 1e-5


@needs_optimum
def test_optimum_writes_a_file_that_computes_the_same(tiny_model, tiny_onnx, tmp_path, pairs):
    export(tiny_model, tmp_path / "optimum", OnnxDeployment(backend="onnx", exporter="optimum"))
    ours, theirs = (OnnxEncoder(folder, 1).encode(texts(pairs), 8) for folder in (tiny_onnx, tmp_path / "optimum"))
    assert np.abs(ours - theirs).max() < 1e-5
    mine, other = (onnx.load(folder / ONNX_FILE).graph for folder in (tiny_onnx, tmp_path / "optimum"))
    # Optimum leaves out which of a pair of texts a token is in: there is only ever one.
    assert {entry.name for entry in mine.input} == {entry.name for entry in other.input} | {"token_type_ids"}
    assert [entry.name for entry in mine.output] == [entry.name for entry in other.output]


@needs_optimum
def test_folders_load_with_the_librarys_onnx_backend(tiny_onnx, quantized, pairs):
    for folder in (tiny_onnx, quantized):
        theirs = SentenceTransformer(
            str(folder), backend="onnx", device="cpu", model_kwargs={"provider": "CPUExecutionProvider"}
        )
        one_by_one = np.concatenate([OnnxEncoder(folder, 1).encode([text], 1) for text in texts(pairs)])
        expected = np.concatenate([theirs.encode([text]) for text in texts(pairs)])
        assert np.abs(one_by_one - expected).max() < 1e-5


@needs_optimum
def test_one_folder_of_all_files_loads_each_by_its_name(tiny_onnx, quantized, tmp_path, pairs):
    """The stage `models` puts all ONNX files of a model into one folder."""
    deployments = {"onnx_fp32": OnnxDeployment(backend="onnx")}
    deployments["onnx_int8"] = OnnxDeployment(backend="onnx", quantization=DynamicQuantization())
    shutil.copytree(tiny_onnx, tmp_path / "model")
    names = shared_names(deployments)
    for folder, name in zip((tiny_onnx, quantized), names.values(), strict=True):
        shutil.copyfile(folder / ONNX_FILE, tmp_path / "model" / name)
    for folder, name in zip((tiny_onnx, quantized), names.values(), strict=True):
        kwargs = {"file_name": name, "provider": "CPUExecutionProvider"}
        theirs = SentenceTransformer(str(tmp_path / "model"), backend="onnx", device="cpu", model_kwargs=kwargs)
        one_by_one = np.concatenate([OnnxEncoder(folder, 1).encode([text], 1) for text in texts(pairs)])
        assert np.abs(one_by_one - np.concatenate([theirs.encode([text]) for text in texts(pairs)])).max() < 1e-5


def test_quantization_is_onnx_runtimes_with_the_published_parameters(tiny_onnx, quantized, tmp_path):
    quantize_dynamic(
        str(tiny_onnx / ONNX_FILE),
        str(tmp_path / "expected.onnx"),
        per_channel=True,
        reduce_range=False,
        weight_type=QuantType.QInt8,
        extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True},
    )
    ours, expected = onnx.load(quantized / ONNX_FILE), onnx.load(tmp_path / "expected.onnx")
    assert ours.graph == expected.graph
    kinds = {node.op_type for node in ours.graph.node}
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= kinds
    assert (quantized / ONNX_FILE).stat().st_size < 0.6 * (tiny_onnx / ONNX_FILE).stat().st_size


def test_dimensions_that_a_model_cuts_are_cut_in_the_file(tiny_model, tmp_path, pairs):
    """A Matryoshka model may say how many of its dimensions are an embedding."""
    source = tmp_path / "model" / "model"
    shutil.copytree(tiny_model, source)
    settings = source / "config_sentence_transformers.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "truncate_dim": 12}))
    expected = SentenceTransformer(str(source), device="cpu").encode(texts(pairs))
    assert expected.shape[1] == 12
    export(source, tmp_path / "onnx", OnnxDeployment(backend="onnx"))
    assert np.abs(OnnxEncoder(tmp_path / "onnx", 1).encode(texts(pairs), 8) - expected).max() < 1e-5
    with pytest.raises(UserError, match=r"truncate_dim.*set exporter: torch"):
        export(source, tmp_path / "optimum", OnnxDeployment(backend="onnx", exporter="optimum"))


def test_no_torch_weights_are_shipped_with_onnx(tiny_onnx, quantized):
    for folder in (tiny_onnx, quantized):
        assert not list(folder.rglob("*.safetensors"))


GEMMA_TEXTS = ["a short one", "one that is longer than the window of its local attention, which has 32 tokens"]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    """EmbeddingGemma has two linear layers behind its pooling, which Sentence Transformers runs itself."""
    folder = tmp_path_factory.mktemp("gemma")
    source = miniatures.embedding_gemma(folder / "model")
    export(source, folder / "float", OnnxDeployment(backend="onnx"))
    quantize_dynamically(folder / "float", folder / "int8", DynamicQuantization())
    return folder, SentenceTransformer(str(source), device="cpu").encode(GEMMA_TEXTS, prompt_name="query")


@pytest.mark.slow(20)
@pytest.mark.parametrize(("name", "similarity"), [("float", 0.99999), ("int8", 0.9)])
def test_modules_behind_the_transformer_are_in_the_graph(gemma, name, similarity):
    folder, wanted = gemma
    assert not (folder / name / "model.safetensors").exists()
    ours = OnnxEncoder(folder / name, 1).encode(["task: search result | query: " + text for text in GEMMA_TEXTS], 2)
    assert (ours * wanted).sum(axis=1).min() > similarity


@needs_optimum
@pytest.mark.parametrize(("name", "similarity"), [("float", 0.99999), ("int8", 0.9)])
def test_modules_behind_the_transformer_keep_their_weights(gemma, name, similarity):
    folder, wanted = gemma
    embeddings = SentenceTransformer(str(folder / name), backend="onnx").encode(GEMMA_TEXTS, prompt_name="query")
    assert (embeddings * wanted).sum(axis=1).min() > similarity
