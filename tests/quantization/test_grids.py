"""Grids against sentence-transformers' own quantize_embeddings, and against themselves in the other library."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sentence_transformers.util import quantize_embeddings as reference

from qatlab.quantization import (
    PRECISIONS,
    MinMaxRange,
    bytes_per_embedding,
    dequantize_embeddings,
    fake_quantize,
    quantize_embeddings,
)
from qatlab.quantization.numpy_grid import VALUES_AT_ONCE

FLOATS = st.floats(-4, 4, width=32, allow_subnormal=False)
# Exact ties, cell borders, constant dimensions, zeros of both signs, and numbers that no grid has room for.
ADVERSARIAL = st.sampled_from([0.0, -0.0, 0.5, -0.5, 1 / 255, 127.5, -1e30, 1e30, 65504.0, 65520.0, 448.0, 464.0, 1e-7])
SHAPES = st.tuples(st.integers(2, 12), st.sampled_from([8, 10, 16, 24]))
ARRAYS = hnp.arrays(np.float32, SHAPES, elements=FLOATS) | hnp.arrays(np.float32, SHAPES, elements=FLOATS | ADVERSARIAL)
INTEGERS = ("int8", "uint8", "int4")


def fitted(embeddings):
    return MinMaxRange().fit(embeddings)


def bits(array):
    return np.ascontiguousarray(array).view(np.uint8)


def torch_bits(tensor):
    return tensor.contiguous().view(torch.uint8).numpy()


def varied(embeddings):
    """Dimensions wide enough for a step to be above float32's rounding."""
    spread = embeddings.max(axis=0).astype(np.float64) - embeddings.min(axis=0)
    return ((spread > 1e-3) & (spread < 1e3)).all()


@given(ARRAYS, ARRAYS)
@settings(deadline=None, max_examples=200)
def test_integer_codes_equal_sentence_transformers(embeddings, others):
    """With the range of the same embeddings, and of others that they stick out of."""
    calibration = [embeddings, others] if others.shape[1] == embeddings.shape[1] else [embeddings]
    for fitted_on in calibration:
        ranges = fitted(fitted_on)
        array = np.vstack([ranges.low, ranges.high])
        for precision in ("int8", "uint8"):
            expected = reference(embeddings, precision=precision, ranges=array)
            assert np.array_equal(quantize_embeddings(embeddings, precision, ranges), expected)
            assert np.array_equal(quantize_embeddings(embeddings, precision, array), expected)
            assert np.array_equal(quantize_embeddings(torch.from_numpy(embeddings), precision, ranges), expected)


@given(ARRAYS)
@settings(deadline=None, max_examples=100)
def test_bits_equal_sentence_transformers(embeddings):
    for precision in ("binary", "ubinary"):
        expected = reference(embeddings, precision=precision)
        assert np.array_equal(quantize_embeddings(embeddings, precision), expected)
        assert np.array_equal(quantize_embeddings(torch.from_numpy(embeddings), precision), expected)


@given(ARRAYS)
@settings(deadline=None, max_examples=200)
def test_numpy_and_torch_give_the_same_bits(embeddings):
    dim = embeddings.shape[1]
    for precision in PRECISIONS:
        ranges, torch_ranges = fitted(embeddings), fitted(torch.from_numpy(embeddings))
        codes = quantize_embeddings(embeddings, precision, ranges)
        torch_codes = quantize_embeddings(torch.from_numpy(embeddings), precision, torch_ranges)
        assert np.array_equal(bits(codes), torch_bits(torch_codes))
        values = dequantize_embeddings(codes, precision, ranges, dim=dim)
        torch_values = dequantize_embeddings(torch_codes, precision, torch_ranges, dim=dim)
        assert values.dtype == np.float32
        assert values.shape == embeddings.shape
        assert np.array_equal(bits(values), torch_bits(torch_values))
        faked = fake_quantize(embeddings, precision, ranges)
        torch_faked = fake_quantize(torch.from_numpy(embeddings).requires_grad_(), precision, torch_ranges)
        assert np.array_equal(bits(faked), bits(values))
        assert np.array_equal(bits(torch_faked.detach().numpy()), bits(values))


@given(ARRAYS)
@settings(deadline=None, max_examples=100)
def test_dequantized_values_lie_within_a_cell_of_the_original(embeddings):
    if not varied(embeddings):
        return
    ranges = fitted(embeddings)
    for precision, steps in (("int8", 255), ("uint8", 255), ("int4", 16)):
        step = (ranges.high - ranges.low) / steps
        back = dequantize_embeddings(quantize_embeddings(embeddings, precision, ranges), precision, ranges)
        assert (np.abs(back - embeddings) <= step * (0.52 if precision == "int4" else 1.02) + 1e-6).all()


@given(ARRAYS)
@settings(deadline=None, max_examples=50)
def test_quantizing_twice_changes_nothing(embeddings):
    if not varied(embeddings):
        return
    ranges = fitted(embeddings)
    for precision in PRECISIONS:
        once = fake_quantize(embeddings, precision, ranges)
        assert np.array_equal(fake_quantize(once, precision, ranges), once)


def test_float_formats_round_as_their_own_types_do():
    values = np.linspace(-3, 3, 4096, dtype=np.float32).reshape(64, 64)
    for precision, dtype in (
        ("float16", torch.float16),
        ("bfloat16", torch.bfloat16),
        ("float8_e4m3", torch.float8_e4m3fn),
    ):
        expected = torch.from_numpy(values).to(dtype).float().numpy()
        assert np.array_equal(fake_quantize(values, precision), expected)
        assert quantize_embeddings(torch.from_numpy(values), precision).dtype == dtype


@pytest.mark.parametrize("library", [np.array, torch.tensor])
def test_values_out_of_range_clip_infinity_too(library):
    ranges = fitted(np.array([[-1.0, -1.0], [1.0, 1.0]], dtype=np.float32))
    far = library([[-50.0, 50.0], [-float("inf"), float("inf")]])
    assert quantize_embeddings(far, "int8", ranges).tolist() == [[-128, 127]] * 2
    assert quantize_embeddings(far, "uint8", ranges).tolist() == [[0, 255]] * 2
    assert quantize_embeddings(far, "int4", ranges).tolist() == [[0x78]] * 2  # −8 in the low half, 7 in the high one
    largest = dequantize_embeddings(quantize_embeddings(far, "float8_e4m3"), "float8_e4m3")
    assert largest[1].tolist() == [-448.0, 448.0]
    assert dequantize_embeddings(quantize_embeddings(far * 1e6, "float16"), "float16")[1].tolist() == [
        -65504.0,
        65504.0,
    ]


def test_int4_is_sixteen_equal_cells_packed_as_onnx_does():
    ranges = fitted(np.array([[0.0, 0.0], [16.0, 16.0]], dtype=np.float32))
    values = np.array([[0.5, 15.5], [8.0, 7.9]], dtype=np.float32)
    codes = quantize_embeddings(values, "int4", ranges)
    assert codes.tolist() == [[0x78], [0xF0]]  # −8 and 7; 0 and −1
    assert dequantize_embeddings(codes, "int4", ranges).tolist() == [[0.5, 15.5], [8.5, 7.5]]


@pytest.mark.parametrize("precision", INTEGERS)
def test_a_constant_dimension_and_a_zero_vector_have_codes(precision):
    constant = np.array([[0.5, 0.0, 0.0, 1.0]] * 3, dtype=np.float32)
    constant[2] = 0
    ranges = fitted(constant[:2])
    back = dequantize_embeddings(quantize_embeddings(constant, precision, ranges), precision, ranges)
    assert np.isfinite(back).all()
    assert np.array_equal(back[0], back[1])
    assert (quantize_embeddings(np.zeros((2, 8), np.float32), "ubinary") == 0).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("library", [np.array, torch.tensor])
def test_nan_is_refused(precision, library):
    broken = library([[0.0, float("nan")]])
    ranges = fitted(np.array([[0.0, 0.0], [1.0, 1.0]], dtype=np.float32))
    with pytest.raises(ValueError, match="NaN"):
        quantize_embeddings(broken, precision, ranges)
    if precision != "float32":
        with pytest.raises(ValueError, match="NaN"):
            fake_quantize(broken, precision, ranges)


def test_wrong_calls_say_what_would_be_right():
    embeddings = np.ones((2, 8), dtype=np.float32)
    with pytest.raises(ValueError, match=r"unknown precision 'int7'; valid: float32, float16, .*ubinary"):
        quantize_embeddings(embeddings, "int7")
    with pytest.raises(ValueError, match="needs ranges"):
        quantize_embeddings(embeddings, "int8")
    with pytest.raises(ValueError, match="not fitted"):
        quantize_embeddings(embeddings, "int8", MinMaxRange())
    with pytest.raises(ValueError, match="fitted on 4 dimensions, the embeddings have 8"):
        quantize_embeddings(embeddings, "int8", MinMaxRange().fit(np.ones((2, 4), dtype=np.float32)))
    with pytest.raises(ValueError, match=r"int4 packs two dimensions .* truncate to 6 or use int8"):
        quantize_embeddings(embeddings[:, :7], "int4", fitted(embeddings[:, :7]))
    with pytest.raises(ValueError, match=r"shape \(n, dim\)"):
        quantize_embeddings(embeddings[0], "binary")
    with pytest.raises(ValueError, match="minima and maxima"):
        quantize_embeddings(embeddings, "int8", embeddings[0])
    with pytest.raises(TypeError, match="not str"):
        quantize_embeddings(embeddings, "int8", "batch")


def test_blocks_join_without_a_seam():
    rows = VALUES_AT_ONCE // 24 * 2 + 5
    embeddings = np.random.default_rng(0).normal(size=(rows, 24)).astype(np.float32)
    ranges = fitted(embeddings)
    array = np.vstack([ranges.low, ranges.high])
    assert np.array_equal(
        quantize_embeddings(embeddings, "int8", ranges), reference(embeddings, precision="int8", ranges=array)
    )
    assert np.array_equal(quantize_embeddings(embeddings, "binary"), reference(embeddings, precision="binary"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_bytes_per_embedding_are_those_of_the_codes(precision):
    embeddings = np.random.default_rng(0).normal(size=(3, 30)).astype(np.float32)
    codes = quantize_embeddings(embeddings, precision, fitted(embeddings))
    assert codes.nbytes == 3 * bytes_per_embedding(precision, 30)
