"""Grids against sentence-transformers' own quantize_embeddings, and against themselves in the other library."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sentence_transformers.util import quantize_embeddings as reference

from qatlab.quantization import PRECISIONS, MinMaxRange, dequantize_embeddings, quantize_embeddings

FLOATS = st.floats(-4, 4, width=32, allow_subnormal=False)
ARRAYS = hnp.arrays(np.float32, st.tuples(st.integers(2, 12), st.sampled_from([8, 16, 24])), elements=FLOATS)


def fitted(embeddings):
    return MinMaxRange().fit(embeddings)


def varied(embeddings):
    """Dimensions wide enough for a step to be above float32's rounding."""
    return (embeddings.max(axis=0) - embeddings.min(axis=0) > 1e-3).all()


@given(ARRAYS)
@settings(deadline=None, max_examples=200)
def test_integer_codes_equal_sentence_transformers(embeddings):
    ranges = fitted(embeddings)
    for precision in ("int8", "uint8"):
        expected = reference(embeddings, precision=precision, ranges=np.vstack([ranges.low, ranges.high]))
        assert np.array_equal(quantize_embeddings(embeddings, precision, ranges), expected)


@given(ARRAYS)
@settings(deadline=None, max_examples=100)
def test_bits_equal_sentence_transformers(embeddings):
    for precision in ("binary", "ubinary"):
        assert np.array_equal(quantize_embeddings(embeddings, precision), reference(embeddings, precision=precision))


@given(ARRAYS)
@settings(deadline=None, max_examples=100)
def test_numpy_and_torch_give_the_same_bits(embeddings):
    for precision in PRECISIONS:
        ranges, torch_ranges = fitted(embeddings), fitted(torch.from_numpy(embeddings))
        codes = quantize_embeddings(embeddings, precision, ranges)
        torch_codes = quantize_embeddings(torch.from_numpy(embeddings), precision, torch_ranges)
        assert np.array_equal(codes, torch_codes.numpy())
        values = dequantize_embeddings(codes, precision, ranges, dim=embeddings.shape[1])
        torch_values = dequantize_embeddings(torch_codes, precision, torch_ranges, dim=embeddings.shape[1])
        assert values.dtype == np.float32
        assert np.array_equal(values, torch_values.numpy())


@given(ARRAYS)
@settings(deadline=None, max_examples=100)
def test_dequantized_values_lie_within_a_cell_of_the_original(embeddings):
    if not varied(embeddings):
        return
    ranges = fitted(embeddings)
    step = (ranges.high - ranges.low) / 255
    for precision in ("int8", "uint8"):
        back = dequantize_embeddings(quantize_embeddings(embeddings, precision, ranges), precision, ranges)
        assert (np.abs(back - embeddings) <= step * 1.02 + 1e-6).all()


def test_values_out_of_range_clip():
    ranges = fitted(np.array([[-1.0], [1.0]], dtype=np.float32))
    far = np.array([[-50.0], [50.0]], dtype=np.float32)
    assert quantize_embeddings(far, "int8", ranges).tolist() == [[-128], [127]]
    assert quantize_embeddings(far, "uint8", ranges).tolist() == [[0], [255]]


def test_a_constant_dimension_has_a_code():
    constant = np.full((3, 2), 0.5, dtype=np.float32)
    ranges = fitted(constant)
    assert np.isfinite(dequantize_embeddings(quantize_embeddings(constant, "int8", ranges), "int8", ranges)).all()


@pytest.mark.parametrize("precision", ["int8", "binary", "float32"])
def test_nan_is_refused(precision):
    broken = np.array([[0.0, np.nan]], dtype=np.float32)
    with pytest.raises(ValueError, match="NaN"):
        quantize_embeddings(broken, precision, MinMaxRange())


def test_wrong_calls_say_what_would_be_right():
    embeddings = np.ones((2, 8), dtype=np.float32)
    with pytest.raises(ValueError, match="valid: float32, int8"):
        quantize_embeddings(embeddings, "int7")
    with pytest.raises(ValueError, match="needs ranges"):
        quantize_embeddings(embeddings, "int8")
    with pytest.raises(ValueError, match="not fitted"):
        quantize_embeddings(embeddings, "int8", MinMaxRange())
    with pytest.raises(ValueError, match="fitted on 4 dimensions, the embeddings have 8"):
        quantize_embeddings(embeddings, "int8", MinMaxRange().fit(np.ones((2, 4), dtype=np.float32)))


def test_ranges_are_saved_and_loaded(tmp_path):
    ranges = fitted(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))
    ranges.save(tmp_path / "ranges.npz")
    loaded = MinMaxRange.load(tmp_path / "ranges.npz")
    assert np.array_equal(loaded.low, ranges.low)
    assert np.array_equal(loaded.high, ranges.high)
