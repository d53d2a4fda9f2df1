"""The grid of training is the grid of the deployed file; ONNX Runtime is the oracle."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from sentence_transformers import SentenceTransformer

from qatlab.config.weights import WeightsConfig
from qatlab.deployments.backends.onnx_export import export
from qatlab.deployments.backends.onnx_quantized import quantize_dynamically
from qatlab.deployments.backends.onnx_runtime import OnnxEncoder, TokenBatches
from qatlab.deployments.deployment import cosine
from qatlab.deployments.onnx import ONNX_FILE, DynamicQuantization, OnnxDeployment
from qatlab.machine.hardware import SATURATING, features, integer_kernel
from qatlab.models.folders import packaged_folder
from qatlab.weights.prepare import Int8PerChannel, OnnxInt8Linear, Uint8PerTensor, prepare, prepared

ONNX_INT8 = WeightsConfig(name="onnx_int8", grid="onnx_int8", activations="int8", embeddings=True)


@pytest.fixture(scope="module")
def runtime():
    """Quantize and dequantize with ONNX Runtime's DynamicQuantizeLinear."""
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
def deployed(tiny_onnx, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "int8"
    quantize_dynamically(tiny_onnx, folder, DynamicQuantization())
    return folder


def test_weights_and_tables_are_those_of_the_deployed_file(tiny_model, deployed):
    model = SentenceTransformer(str(tiny_model), device="cpu")
    prepare(model, ONNX_INT8)
    stored = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(deployed / ONNX_FILE).graph.initializer
    }
    shipped = []
    for name, codes in stored.items():
        if name.endswith("_quantized"):
            scale, zero = (stored[name.removesuffix("quantized") + suffix] for suffix in ("scale", "zero_point"))
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


def test_the_forward_pass_in_training_is_that_of_the_deployed_file(tiny_model, deployed, pairs):
    texts = [text for pair in pairs[:16] for text in pair]
    plain = SentenceTransformer(str(tiny_model), device="cpu").encode(texts, convert_to_tensor=True)
    model = SentenceTransformer(str(tiny_model), device="cpu")
    prepare(model, ONNX_INT8)
    faked = model.encode(texts, convert_to_tensor=True)
    shipped = torch.from_numpy(OnnxEncoder(deployed, 1).encode(texts, len(texts)))
    assert torch.cosine_similarity(faked, shipped).min() >= 0.9995
    assert (1 - torch.cosine_similarity(faked, shipped)).mean() < 0.1 * (
        1 - torch.cosine_similarity(plain, shipped)
    ).mean()


class ExactMatMulInteger(OpRun):
    """Use float64 products, which are exact for 8-bit codes and faster than NumPy's integer products."""

    op_domain = ""
    op_schema = onnx.defs.get_schema("MatMulInteger")

    def _run(self, a, b, a_zero_point, b_zero_point):
        product = (a.astype(np.float64) - a_zero_point) @ (b.astype(np.float64) - b_zero_point)
        return (product.astype(np.int32),)


ExactMatMulInteger.__name__ = "MatMulInteger"


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """Return the packaged all-MiniLM-L6-v2, whose embeddings change on this grid, and its deployed file."""
    source = packaged_folder("sentence-transformers/all-MiniLM-L6-v2")
    folder = tmp_path_factory.mktemp("minilm")
    export(source, folder / "float", OnnxDeployment(backend="onnx"))
    quantize_dynamically(folder / "float", folder / "int8", DynamicQuantization())
    return source, folder / "int8"


@pytest.fixture(scope="module")
def by_definition(minilm, pairs):
    """Return every value of the deployed file's graph for some texts, by name, from ONNX's reference implementation.

    ONNX Runtime's own kernels will not do: where x86 has no VNNI they saturate.
    """
    texts = sorted((text for pair in pairs[:6] for text in pair), key=len, reverse=True)
    file = onnx.load(minilm[1] / ONNX_FILE)
    for entry in file.opset_import:
        if entry.domain == "":
            entry.version = max(19, entry.version)  # the reference has DequantizeLinear from 19 on
    feed = TokenBatches(minilm[1]).feed(texts, {entry.name for entry in file.graph.input})
    values = ReferenceEvaluator(file, new_ops=[ExactMatMulInteger]).run(None, feed, intermediate=True)
    return texts, file.graph, values


@pytest.mark.slow(40)
def test_on_a_real_model_every_layer_computes_the_same_as_the_deployed_file(minilm, by_definition):
    """Each layer receives the input that it has in the file; from text to embedding, rounding decisions diverge (see below)."""
    _, graph, values = by_definition
    made_by = {output: node for node in graph.node for output in node.output}
    model = SentenceTransformer(str(minilm[0]), device="cpu")
    prepare(model, ONNX_INT8)
    layers = {name: layer for name, layer in prepared(model).items() if ".layer." in name}
    assert len(layers) == 36
    for name, layer in layers.items():
        output = name.replace("0.model.", "/0/").replace(".", "/").replace("layer/", "layer.") + "/Add_output_0"
        node = made_by[output]
        while node.op_type != "MatMulInteger":  # Add ← Mul by the scales ← Cast ← the product
            node = next(made_by[i] for i in node.input if i in made_by and "scale" not in i)
        x = values[made_by[node.input[0]].input[0]]
        with torch.no_grad():
            ours = layer(torch.from_numpy(x)).numpy()
        assert np.abs(ours - values[output]).max() <= 1e-5 * np.abs(values[output]).max(), name


@pytest.mark.slow(2)
def test_exact_products_are_those_of_the_definition_on_every_cpu(minilm, by_definition):
    texts, graph, values = by_definition
    output = "/0/encoder/layer.0/attention/self/query/Add_output_0"
    file = onnx.load(minilm[1] / ONNX_FILE)
    file.graph.output.append(helper.make_empty_tensor_value_info(output))
    products = {}
    for exact in (True, False):
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", str(int(exact)))
        session = onnxruntime.InferenceSession(file.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feed = TokenBatches(minilm[1]).feed(texts, {entry.name for entry in graph.input})
        products[exact] = np.abs(session.run([output], feed)[0] - values[output]).max() / np.abs(values[output]).max()
    assert products[True] < 1e-4
    assert (products[False] < 1e-4) == (integer_kernel(features()) not in SATURATING)


@pytest.mark.slow(2)
def test_on_a_real_model_embeddings_in_training_are_close_to_those_of_the_deployed_file(minilm, by_definition):
    """They are not equal: one value in the next cell moves others, so that no two implementations agree on every text."""
    texts, _, values = by_definition
    model = SentenceTransformer(str(minilm[0]), device="cpu")
    plain = model.encode(texts, batch_size=len(texts))
    prepare(model, ONNX_INT8)
    faked = model.encode(texts, batch_size=len(texts))
    moved = (1 - cosine(plain, values["sentence_embedding"])).mean()
    assert moved > 0.003
    assert (1 - cosine(faked, values["sentence_embedding"])).mean() < 0.5 * moved


def test_codes_are_multiplied_and_the_gradient_is_that_of_their_decoded_values():
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 16)
    layer = OnnxInt8Linear.of(linear)
    x = (torch.randn(3, 5, 64) + 1).requires_grad_()
    weight = linear.weight.detach().clone().requires_grad_()
    by_values = torch.nn.functional.linear(
        layer.activation_fake_quantizer(x), layer.weight_fake_quantizer(weight), linear.bias
    )
    by_codes = layer.product(x, weight)
    torch.testing.assert_close(by_codes, by_values, rtol=1e-5, atol=1e-6)
    up = torch.randn_like(by_codes)
    ours = torch.autograd.grad(by_codes, (x, weight), up)
    theirs = torch.autograd.grad(by_values, (x, weight), up)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    integers, _ = layer.activation_fake_quantizer.codes(x)
    assert torch.equal(integers, integers.round())


def test_under_autocast_it_computes_in_bfloat16_as_a_linear_layer_does():
    linear = torch.nn.Linear(64, 16)
    layer, x = OnnxInt8Linear.of(linear), torch.randn(4, 64, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.nn.functional.linear(x, linear.weight).dtype == torch.bfloat16
        layer(x).float().square().sum().backward()
    assert x.grad.dtype == linear.weight.grad.dtype == torch.float32
    assert x.grad.abs().sum() > 0
