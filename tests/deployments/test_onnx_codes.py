"""Codes that an ONNX graph outputs, against those of quantize_embeddings, bit for bit."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper, save
from sentence_transformers import SentenceTransformer

import miniatures
from qatlab.deployments.backends.onnx_quantized import RANGES_FILE, append_codes
from qatlab.deployments.backends.onnx_runtime import OnnxEncoder
from qatlab.deployments.onnx import ONNX_FILE, DynamicQuantization, OnnxDeployment
from qatlab.job import JobDescription
from qatlab.losses.ranges import MEAN_SQUARE, append_tanh, tanh_range
from qatlab.quantization import MinMaxRange, Range, quantize_embeddings
from qatlab.quantization.ranges import RANGES
from qatlab.stages import deploy

pytestmark = pytest.mark.slow(25)

TEXTS = ["a", "one that is longer", "and a third one, of which the model sees only the beginning, for it has 64 tokens"]


def graph(path, dim):
    """A file that outputs what it is given."""
    shape = ["batch", dim]
    node = helper.make_node("Identity", ["x"], ["sentence_embedding"])
    inputs, outputs = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", "sentence_embedding"))
    model = helper.make_model(
        helper.make_graph([node], "g", [inputs], [outputs]), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    save(model, path)
    return path


def outputs(path, values, name):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run([name], {"x": values})[0]


embeddings = st.integers(1, 20).flatmap(
    lambda dim: st.tuples(
        *(
            arrays(np.float32, st.tuples(st.integers(1, 6), st.just(dim)), elements=st.floats(-1e6, 1e6, width=32))
            for _ in range(2)
        )
    )
)


@settings(deadline=None, max_examples=60)
@given(embeddings)
def test_codes_are_those_of_quantize_embeddings(pair):
    """Values between the ranges' ends, at them, beyond them, and zeros of both signs; dimensions that fill no byte."""
    fitted_on, values = pair
    values = np.concatenate([values, fitted_on, np.zeros_like(values[:1]), -np.zeros_like(values[:1])])
    ranges, dim = MinMaxRange().fit(fitted_on), values.shape[1]
    with tempfile.TemporaryDirectory() as folder:
        for precision, given_ranges in (("int8", ranges), ("binary", None)):
            path = graph(Path(folder) / f"{precision}.onnx", dim)
            append_codes(path, precision, dim, given_ranges)
            codes = outputs(path, values, f"sentence_embedding_{precision}")
            wanted = quantize_embeddings(values, precision, given_ranges)
            assert codes.dtype == wanted.dtype == np.int8
            assert np.array_equal(codes, wanted)
            assert np.array_equal(outputs(path, values, "sentence_embedding"), values)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """A model, its float deployment, and training data, as stages find them."""
    folder = tmp_path_factory.mktemp("codes")
    miniatures.encoder(folder / "trained" / "model", "bert")
    run(folder, "float", {}, {"model": folder / "trained"})
    (folder / "data").mkdir()
    documents = [f"a document that ends with {word}" for word in ("this", "that", "these", "those", "nothing")]
    pq.write_table(pa.table({"anchor": ["q"] * 5, "positive": documents}), folder / "data" / "train.parquet")
    return folder, documents


def run(folder, name, config, inputs):
    described = JobDescription(config={"backend": "onnx", **config}, label=name)
    deploy.run(described, inputs, folder / name, 1)
    return folder / name / "model"


@pytest.mark.slow(12)
@pytest.mark.parametrize("quantization", [None, DynamicQuantization().model_dump()], ids=["float", "int8_weights"])
def test_a_deployment_outputs_the_codes_that_an_index_stores(artifacts, quantization):
    folder, documents = artifacts
    inputs = {"model": folder / "trained", "float": folder / "float", "data": folder / "data"}
    for precision in ("int8", "binary"):
        config = {"output": precision, "quantization": quantization, "range_texts": 4}
        assert OnnxDeployment(backend="onnx", **config).needs_texts == (precision == "int8")
        target = run(folder, f"{precision}-{quantization is not None}", config, inputs)
        encoder = OnnxEncoder(target, 1)
        feed = encoder.tokens.feed(TEXTS, encoder.input_names)
        embeddings, codes = encoder.session.run(["sentence_embedding", f"sentence_embedding_{precision}"], feed)
        ranges = Range.load(target / RANGES_FILE) if precision == "int8" else None
        assert np.array_equal(codes, quantize_embeddings(embeddings, precision, ranges))
        if ranges is not None:
            fitted = MinMaxRange().fit(encoder.encode(documents[:4], 32))
            assert np.array_equal(ranges.low, fitted.low)
            assert np.array_equal(ranges.high, fitted.high)
    assert (folder / "float" / "model" / ONNX_FILE).stat().st_nlink == 1  # what they are made from is not theirs


def test_the_ranges_of_training_come_first(artifacts):
    folder, _ = artifacts
    trained = MinMaxRange().fit(np.array([[-0.5] * 32, [0.25] * 32], dtype=np.float32))
    source = folder / "with_ranges"
    shutil.copytree(folder / "float", folder / "with_ranges")
    (source / "model" / RANGES).mkdir()
    trained.save(source / "model" / RANGES / "int8.npz")
    target = run(
        folder,
        "codes_of_training",
        {"output": "int8"},
        {"model": folder / "trained", "float": source, "data": folder / "data"},
    )
    ranges = Range.load(target / RANGES_FILE)
    assert np.array_equal(ranges.low, trained.low)
    assert np.array_equal(ranges.high, trained.high)


@pytest.mark.parametrize("quantization", [None, DynamicQuantization().model_dump()], ids=["float", "int8_weights"])
def test_a_model_trained_with_tanh_is_deployed_with_it(artifacts, tmp_path, quantization):
    """The activation is part of the graph, and its codes of int8 are those of the fixed grid of training."""
    folder, _ = artifacts
    model = SentenceTransformer(str(folder / "trained" / "model"), device="cpu")
    before = model.encode(TEXTS)
    append_tanh(model)
    model.save_pretrained(str(tmp_path / "trained" / "model"), safe_serialization=True, create_model_card=False)
    dim = before.shape[1]
    saved = tmp_path / "trained" / "model" / RANGES
    saved.mkdir()
    tanh_range(dim).save(saved / "int8.npz")
    run(tmp_path, "float", {}, {"model": tmp_path / "trained"})
    inputs = {"model": tmp_path / "trained", "float": tmp_path / "float"}
    target = run(tmp_path, "codes", {"output": "int8", "quantization": quantization}, inputs)
    encoder = OnnxEncoder(target, 1)
    feed = encoder.tokens.feed(TEXTS, encoder.input_names)
    embeddings, codes = encoder.session.run(["sentence_embedding", "sentence_embedding_int8"], feed)
    assert np.array_equal(codes, quantize_embeddings(embeddings, "int8", tanh_range(dim)))
    t = np.tanh(dim**0.5 * before / np.linalg.norm(before, axis=1, keepdims=True))
    expected = t / np.linalg.norm(t, axis=1, keepdims=True)
    if quantization is None:
        assert np.abs(embeddings - expected).max() < 1e-5
        assert np.abs(codes - np.clip(127 * (MEAN_SQUARE * dim) ** 0.5 * expected, -128, 127)).max() <= 0.5 + 1e-2
    else:
        assert (embeddings * expected).sum(axis=1).min() > 0.95
