"""Deployments whose ranges of activations are fitted on training texts: ONNX Runtime's QDQ files and OpenVINO's."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sentence_transformers import SentenceTransformer

from qatlab.deployments import openvino
from qatlab.deployments.backends import onnx_quantized
from qatlab.deployments.backends.onnx_quantized import calibration_texts, feeds
from qatlab.deployments.backends.onnx_runtime import OnnxEncoder
from qatlab.deployments.deployment import cosine
from qatlab.deployments.onnx import ONNX_FILE, StaticQuantization
from qatlab.deployments.openvino import OpenvinoEncoder, OpenvinoQuantization

pytestmark = pytest.mark.slow(17)


def weight_bytes(folder):
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(folder / ONNX_FILE).graph.initializer)


@pytest.fixture(scope="module")
def texts(pairs):
    return [text for pair in pairs[80:110] for text in pair]


@pytest.fixture(scope="module")
def expected(tiny_model, texts):
    return SentenceTransformer(str(tiny_model), device="cpu").encode(texts)


def test_calibration_texts_are_queries_and_documents_of_the_first_rows(tiny_model, training_data, pairs):
    assert calibration_texts(tiny_model, training_data, 5) == [*pairs[0], *pairs[1], pairs[2][0]]
    batches = list(feeds(tiny_model, [text for pair in pairs[:20] for text in pair], {"input_ids"}, same_length=True))
    assert {batch["input_ids"].shape[1] for batch in batches} == {32}
    assert sum(len(batch["input_ids"]) for batch in batches) == 40


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "entropy"])
def test_static_ranges(tiny_onnx, training_data, tmp_path, texts, expected, calibration):
    config = StaticQuantization(mode="QDQ", calibration=calibration)
    onnx_quantized.quantize_statically(
        tiny_onnx, tmp_path / "model", config, calibration_texts(tiny_onnx, training_data, 32)
    )
    kinds = [node.op_type for node in onnx.load(tmp_path / "model" / ONNX_FILE).graph.node]
    assert kinds.count("QuantizeLinear") >= 4
    assert "DynamicQuantizeLinear" not in kinds
    got = OnnxEncoder(tmp_path / "model", 1).encode(texts, 16)
    assert 0.95 < cosine(got, expected).mean() < 0.999999
    assert weight_bytes(tmp_path / "model") < 0.4 * weight_bytes(tiny_onnx)


def test_openvino_in_float_is_the_model(tiny_onnx, tmp_path, texts, expected):
    openvino.deploy(tiny_onnx, tmp_path / "model", None, [])
    assert np.abs(OpenvinoEncoder(tmp_path / "model", 1).encode(texts, 16) - expected).max() < 1e-5
    assert not list((tmp_path / "model").rglob("*.safetensors"))


def test_openvino_in_int8_is_small_and_near(tiny_onnx, training_data, tmp_path, texts, expected):
    config = OpenvinoQuantization()
    openvino.deploy(tiny_onnx, tmp_path / "model", config, calibration_texts(tiny_onnx, training_data, 32))
    got = OpenvinoEncoder(tmp_path / "model", 1).encode(texts, 16)
    assert got.dtype == np.float32
    assert 0.95 < cosine(got, expected).mean() < 0.999999
    weights = tmp_path / "model" / "openvino" / "openvino_model.bin"
    assert weights.stat().st_size < 0.5 * (tiny_onnx / ONNX_FILE).stat().st_size


def test_no_telemetry_is_imported():
    code = (
        "import sys; from qatlab.deployments.openvino import import_openvino; import_openvino(); import nncf; "
        "from nncf.telemetry.wrapper import telemetry; print(type(telemetry).__name__, sys.modules['openvino_telemetry'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sender, package = result.stdout.split()[-2:]
    assert sender != "NNCFTelemetry"
    assert package == "None"
