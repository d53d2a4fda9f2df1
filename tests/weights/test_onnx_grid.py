"""The grid trained on is the grid shipped: ONNX Runtime is the oracle."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from sentence_transformers import SentenceTransformer

from qatlab.config.deploy import DynamicQuantization
from qatlab.config.weights import WeightsConfig
from qatlab.deploy.onnx_dynamic import quantize
from qatlab.deploy.onnx_export import ONNX_FILE, export
from qatlab.weights.onnx_grid import Int8PerChannel, Uint8PerTensor
from qatlab.weights.prepare import prepare

ONNX_INT8 = WeightsConfig(name="onnx_int8", grid="onnx_int8", activations="int8", embeddings=True)


@pytest.fixture(scope="module")
def runtime():
    """DynamicQuantizeLinear and back, as ONNX Runtime computes it."""
    graph = helper.make_graph(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["codes", "scale", "zero"]),
            helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["y"]),
        ],
        "activations",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None]),
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, []),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.sampled_from([0.0, 3.0, -3.0]), size=st.sampled_from([1e-3, 1.0, 1e3]))
def test_activations_are_those_of_the_runtime(runtime, seed, shift, size):
    values = (np.random.default_rng(seed).standard_normal((7, 33)) + shift).astype(np.float32) * np.float32(size)
    theirs, scale = runtime.run(None, {"x": values})
    ours = Uint8PerTensor()(torch.from_numpy(values)).numpy()
    steps = np.abs(ours - theirs) / scale
    assert (steps < 1.01).all()  # a value at the border of two cells may fall to either
    assert (steps > 0.01).mean() < 0.01


def test_zeros_stay_zeros():
    assert torch.equal(Uint8PerTensor()(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert torch.equal(Int8PerChannel()(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("quantizer", [Int8PerChannel(), Uint8PerTensor()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_straight_through_and_the_dtype_stays(quantizer, dtype):
    values = torch.randn(8, 16, dtype=dtype, requires_grad=True)
    quantized = quantizer(values)
    assert quantized.dtype == dtype
    quantized.sum().backward()
    assert torch.equal(values.grad, torch.ones_like(values))


@pytest.fixture(scope="module")
def deployed(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    export(tiny_model, folder / "float", 18)
    quantize(folder / "float", folder / "int8", DynamicQuantization())
    return folder / "int8"


def test_weights_and_tables_are_those_of_the_shipped_file(tiny_model, deployed):
    model = SentenceTransformer(str(tiny_model), device="cpu")
    prepare(model, ONNX_INT8)
    stored = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(deployed / ONNX_FILE).graph.initializer
    }
    shipped = []
    for name, codes in stored.items():
        if name.endswith("_quantized"):
            scale, zero = (stored[name.removesuffix("quantized") + what] for what in ("scale", "zero_point"))
            values = (codes.astype(np.float32) - zero.astype(np.float32)) * scale
            shipped.append(values if "embeddings" in name else values.T)
    faked = [
        layer.weight_fake_quantizer(layer.weight).detach().numpy()
        for name, layer in model.named_modules()
        if hasattr(layer, "weight_fake_quantizer") and "pooler" not in name
    ]
    assert len(faked) == len(shipped) == 15
    for ours in faked:
        step = np.diff(np.unique(np.abs(ours))).max()
        assert any(
            theirs.shape == ours.shape
            and (np.abs(theirs - ours) > 1e-6).mean() < 1e-3
            and np.abs(theirs - ours).max() <= step
            for theirs in shipped
        )


def test_the_forward_pass_in_training_is_that_of_the_shipped_file(tiny_model, deployed, pairs):
    texts = [text for pair in pairs[:16] for text in pair]
    plain = SentenceTransformer(str(tiny_model), device="cpu").encode(texts, convert_to_tensor=True)
    model = SentenceTransformer(str(tiny_model), device="cpu")
    prepare(model, ONNX_INT8)
    faked = model.encode(texts, convert_to_tensor=True)
    runtime = SentenceTransformer(
        str(deployed), backend="onnx", device="cpu", model_kwargs={"provider": "CPUExecutionProvider"}
    )
    shipped = runtime.encode(texts, convert_to_tensor=True)
    assert torch.cosine_similarity(faked, shipped).min() >= 0.9995
    assert (1 - torch.cosine_similarity(faked, shipped)).mean() < 0.1 * (
        1 - torch.cosine_similarity(plain, shipped)
    ).mean()
