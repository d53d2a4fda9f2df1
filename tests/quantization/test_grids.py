"""Grids compared with sentence-transformers' own quantize_embeddings, and NumPy's grids with those of torch."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sentence_transformers.util import quantize_embeddings as reference

from qatlab.quantization import (
    PRECISIONS,
    FixedRange,
    MinMaxRange,
    QuantileRange,
    bytes_per_embedding,
    dequantize_embeddings,
    fake_quantize,
    quantize_embeddings,
)
from qatlab.quantization.grids import BITS_AT_ONCE, LARGEST_INT8, VALUES_AT_ONCE, integer_codes, queries_for_codes
from qatlab.quantization.precisions import CELLS, PER_BYTE, QUANTILE, RANGED

FLOATS = st.floats(-4, 4, width=32, allow_subnormal=False)
# Exact ties, cell borders, constant dimensions, zeros of both signs, and numbers that no grid has room for.
ADVERSARIAL = st.sampled_from([0.0, -0.0, 0.5, -0.5, 1 / 255, 127.5, -1e30, 1e30, 65504.0, 65520.0, 448.0, 464.0, 1e-7])
SHAPES = st.tuples(st.integers(2, 12), st.sampled_from([8, 12, 16, 24]))
ARRAYS = hnp.arrays(np.float32, SHAPES, elements=FLOATS) | hnp.arrays(np.float32, SHAPES, elements=FLOATS | ADVERSARIAL)


def fitted(embeddings, precision="int8"):
    return (QuantileRange() if precision in QUANTILE else MinMaxRange()).fit(embeddings)


def bits(array):
    return np.ascontiguousarray(array).view(np.uint8)


def torch_bits(tensor):
    return tensor.contiguous().view(torch.uint8).numpy()


def varied(embeddings):
    """Select dimensions wide enough for a step above the rounding error of float32."""
    spread = embeddings.max(axis=0).astype(np.float64) - embeddings.min(axis=0)
    return ((spread > 1e-3) & (spread < 1e3)).all()


@given(ARRAYS, ARRAYS)
@settings(deadline=None, max_examples=200)
def test_integer_codes_equal_sentence_transformers(embeddings, others):
    """The ranges are those of the same embeddings, and of others, which some values exceed."""
    calibration = [embeddings, others] if others.shape[1] == embeddings.shape[1] else [embeddings]
    for fitted_on in calibration:
        ranges = fitted(fitted_on)
        array = np.vstack([ranges.low, ranges.high])
        for precision in ("int8", "uint8"):
            expected = reference(embeddings, precision=precision, ranges=array)
            assert np.array_equal(quantize_embeddings(embeddings, precision, ranges), expected)
            assert np.array_equal(quantize_embeddings(embeddings, precision, array), expected)
            assert np.array_equal(quantize_embeddings(torch.from_numpy(embeddings), precision, ranges), expected)


def test_codes_outside_the_range_are_those_of_its_ends():
    """Sentence Transformers clips too, since 5.7 at the latest; with wrap-around, the largest value would have the smallest code."""
    ranges = np.array([[0, 0], [255, 255]], np.float32)
    values = np.array([[-9, 0, 100.5, 255, 300]], np.float32).repeat(2, axis=0).T.copy()
    for precision, codes in (("int8", [-128, -128, -28, 127, 127]), ("uint8", [0, 0, 100, 255, 255])):
        assert quantize_embeddings(values, precision, ranges)[:, 0].tolist() == codes
        assert reference(values, precision=precision, ranges=ranges)[:, 0].tolist() == codes


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
        ranges, torch_ranges = (fitted(each, precision) for each in (embeddings, torch.from_numpy(embeddings)))
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
        if precision in RANGED:
            numbers = integer_codes(codes, precision, dim)
            assert np.array_equal(numbers, integer_codes(torch_codes, precision, dim).numpy())
            assert numbers.shape == embeddings.shape


@given(ARRAYS, ARRAYS, st.integers(1, 24))
@settings(deadline=None, max_examples=200)
def test_cells_between_quantiles_have_the_same_bits_for_any_dimension_and_for_values_outside(embeddings, others, dim):
    """Ternary packs any number of dimensions; the quantiles are fitted on other embeddings than those that are quantized."""
    dim = min(dim, embeddings.shape[1], others.shape[1])
    ranges = QuantileRange().fit(others[:, :dim])
    torch_ranges = QuantileRange().fit(torch.from_numpy(others[:, :dim]))
    assert np.array_equal(bits(ranges.quantiles), torch_bits(torch_ranges.quantiles))
    for precision in QUANTILE:
        width = dim if precision == "ternary" else dim // 4 * 4
        values, fit = np.ascontiguousarray(embeddings[:, :width]), QuantileRange().fit(others[:, :width])
        codes = quantize_embeddings(values, precision, fit)
        assert np.array_equal(codes, quantize_embeddings(torch.from_numpy(values), precision, fit).numpy())
        back = dequantize_embeddings(codes, precision, fit, dim=width)
        assert back.shape == values.shape
        for library in (np.asarray, torch.from_numpy):
            assert np.array_equal(bits(np.asarray(fake_quantize(library(values), precision, fit))), bits(back))


@given(ARRAYS)
@settings(deadline=None, max_examples=100)
def test_dequantized_values_lie_within_a_cell_of_the_original(embeddings):
    if not varied(embeddings):
        return
    ranges = fitted(embeddings)
    for precision, steps in (("int8", 255), ("uint8", 255), ("int4", 16), ("int2", 4)):
        step = (ranges.high - ranges.low) / steps
        back = dequantize_embeddings(quantize_embeddings(embeddings, precision, ranges), precision, ranges)
        assert (np.abs(back - embeddings) <= step * (1.02 if steps == 255 else 0.52) + 1e-6).all()


@given(ARRAYS)
@settings(deadline=None, max_examples=200)
def test_between_quantiles_a_value_and_its_decoded_code_lie_in_the_same_cell(embeddings):
    """Both lie between the same two borders, also with ties, and the code is the number of borders below."""
    for precision in QUANTILE:
        ranges, count = QuantileRange().fit(embeddings), CELLS[precision]
        # Border k is number ⌊n·k / count⌋ of n sorted values.
        borders = np.sort(embeddings, axis=0)[[len(embeddings) * k // count for k in range(1, count)]]
        cells = (embeddings[None] > borders[:, None]).sum(axis=0)
        codes = quantize_embeddings(embeddings, precision, ranges)
        assert np.array_equal(integer_codes(codes, precision, embeddings.shape[1]), cells - count // 2)
        back = dequantize_embeddings(codes, precision, ranges, dim=embeddings.shape[1])
        assert np.array_equal((back[None] > borders[:, None]).sum(axis=0), cells)
        assert ((back >= embeddings.min(axis=0)) & (back <= embeddings.max(axis=0))).all()


@given(ARRAYS)
@settings(deadline=None, max_examples=50)
def test_quantizing_twice_changes_nothing(embeddings):
    for precision in PRECISIONS if varied(embeddings) else QUANTILE:
        ranges = fitted(embeddings, precision)
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
    assert (
        quantize_embeddings(
            library([[-9.0, 9.0] * 2, [-float("inf"), float("inf")] * 2]), "int2", FixedRange(1)
        ).tolist()
        == [
            [0b01_10_01_10]  # 1, −2, 1, −2 from the highest bits down
        ]
        * 2
    )
    quantiles = QuantileRange().fit(np.arange(12, dtype=np.float32)[:, None].repeat(4, axis=1))
    farther = library([[-50.0, 50.0, -float("inf"), float("inf")]])
    for precision, ends in (("int2_quantile", [1.0, 10.0]), ("ternary", [2.0, 10.0])):
        codes = quantize_embeddings(farther, precision, quantiles)
        assert dequantize_embeddings(codes, precision, quantiles, dim=4).tolist() == [ends * 2]
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


@pytest.mark.parametrize("library", [np.array, torch.tensor])
def test_int2_is_four_equal_cells_the_first_dimension_in_the_lowest_bits(library):
    ranges = fitted(np.array([[0.0] * 8, [4.0] * 8], dtype=np.float32))
    values = library([[0.5, 1.5, 2.5, 3.5, 3.5, 3.5, 0.0, 1.0]])
    codes = quantize_embeddings(values, "int2", ranges)
    assert integer_codes(codes, "int2", 8).tolist() == [[-2, -1, 0, 1, 1, 1, -2, -1]]
    assert codes.tolist() == [[0b01_00_11_10, 0b11_10_01_01]]
    assert dequantize_embeddings(codes, "int2", ranges).tolist() == [[0.5, 1.5, 2.5, 3.5, 3.5, 3.5, 0.5, 1.5]]


@pytest.mark.parametrize("library", [np.array, torch.tensor])
def test_quartiles_are_the_borders_of_int2_quantile_and_cells_stand_for_their_medians(library):
    column = np.array([0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33], dtype=np.float32)
    ranges = QuantileRange().fit(library(np.stack([column, -column, 2 * column, column], axis=1)))
    codes = quantize_embeddings(library([[10.0, -1.0, 41.0, 30.5]]), "int2_quantile", ranges)
    assert integer_codes(codes, "int2_quantile", 4).tolist() == [[-2, 1, 0, 1]]  # borders are 10, 20 and 30
    assert codes.tolist() == [[0b01_00_01_10]]
    assert dequantize_embeddings(codes, "int2_quantile", ranges).tolist() == [[2.0, -1.0, 44.0, 32.0]]


@pytest.mark.parametrize("library", [np.array, torch.tensor])
def test_ternary_packs_five_to_a_byte_the_first_dimension_the_least_significant(library):
    ranges = QuantileRange().fit(library(np.arange(9, dtype=np.float32)[:, None].repeat(7, axis=1)))  # borders 3 and 6
    values = library([[0.0, 5.0, 8.0, 3.0, 6.5, 7.0, 4.0]])
    codes = quantize_embeddings(values, "ternary", ranges)
    assert integer_codes(codes, "ternary", 7).tolist() == [[-1, 0, 1, -1, 1, 1, 0]]
    assert codes.tolist() == [
        [0 + 1 * 3 + 2 * 9 + 0 * 27 + 2 * 81, 2 + 1 * 3]
    ]  # cells count from 0, so does the padding
    assert dequantize_embeddings(codes, "ternary", ranges, dim=7).tolist() == [[1.0, 4.0, 7.0, 1.0, 7.0, 7.0, 4.0]]


@pytest.mark.parametrize("library", [np.array, torch.tensor])
def test_every_byte_has_its_own_cells(library):
    """All combinations of int4, int2 and ternary codes are packed into a byte and unpacked again."""
    for precision in ("int4", "int2", "ternary"):
        together, count = PER_BYTE[precision], CELLS[precision]
        grid = np.stack(np.meshgrid(*[np.arange(count)] * together, indexing="ij"), axis=-1).reshape(-1, together)
        ranges = fitted(np.array([[0.0] * together, [count] * together]), precision)
        if precision == "ternary":
            ranges = QuantileRange().fit(np.arange(count, dtype=np.float32)[:, None].repeat(together, axis=1) - 0.5)
        codes = quantize_embeddings(library(grid + 0.25), precision, ranges)
        assert np.array_equal(np.asarray(integer_codes(codes, precision, together)) + count // 2, grid)
        assert len(np.unique(np.asarray(codes))) == count**together


@pytest.mark.parametrize("precision", RANGED)
def test_a_constant_dimension_and_a_zero_vector_have_codes(precision):
    constant = np.array([[0.5, 0.0, 0.0, 1.0]] * 3, dtype=np.float32)
    constant[2] = 0
    ranges = fitted(constant[:2], precision)
    back = dequantize_embeddings(quantize_embeddings(constant, precision, ranges), precision, ranges, dim=4)
    assert np.isfinite(back).all()
    assert np.array_equal(back[0], back[1])
    if precision in QUANTILE:
        assert np.array_equal(back[:2], constant[:2])
    assert (quantize_embeddings(np.zeros((2, 8), np.float32), "ubinary") == 0).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("library", [np.array, torch.tensor])
def test_nan_is_refused(precision, library):
    broken = library([[0.0, 1.0, float("nan"), 0.0]])
    ranges = fitted(np.array([[0.0] * 4, [1.0] * 4], dtype=np.float32), precision)
    with pytest.raises(ValueError, match="NaN"):
        quantize_embeddings(broken, precision, ranges)
    if precision != "float32":
        with pytest.raises(ValueError, match="NaN"):
            fake_quantize(broken, precision, ranges)


def test_invalid_calls_raise_errors_with_the_remedy():
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
    for dim, remedy in (
        (29, "truncate to 28 or use int8"),
        (6, "truncate to 4 or use int4 or int8"),
        (2, "fit; use int4 or"),
    ):
        for precision in ("int2", "int2_quantile"):
            match = rf"{precision} packs four dimensions into a byte, so {dim} dimensions .*{remedy}"
            with pytest.raises(ValueError, match=match):
                quantize_embeddings(np.ones((2, dim), dtype=np.float32), precision)
    with pytest.raises(ValueError, match=r"shape \(n, dim\)"):
        quantize_embeddings(embeddings[0], "binary")
    with pytest.raises(ValueError, match="minima and maxima"):
        quantize_embeddings(embeddings, "int8", embeddings[0])
    with pytest.raises(TypeError, match="not str"):
        quantize_embeddings(embeddings, "int8", "batch")


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_extremes_and_quantiles_are_not_interchangeable(library):
    embeddings = library(np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32))
    for precision in QUANTILE:
        with pytest.raises(ValueError, match=rf"{precision} needs ranges=QuantileRange\(\)\.fit\(embeddings\)"):
            quantize_embeddings(embeddings[:, :4], precision)
        for wrong, name in (
            (MinMaxRange().fit(embeddings[:, :4]), "a MinMaxRange"),
            (embeddings[:2, :4] * 0, "minima and maxima"),
        ):
            match = rf"{precision} lie between quantiles; give it ranges=QuantileRange\(\).* not {name}"
            with pytest.raises(ValueError, match=match):
                fake_quantize(embeddings[:, :4], precision, wrong)
    with pytest.raises(
        ValueError, match=r"int8 have equal widths; give it ranges=MinMaxRange\(\).* not a QuantileRange"
    ):
        quantize_embeddings(embeddings, "int8", QuantileRange().fit(embeddings))
    ranges = QuantileRange().fit(embeddings)
    codes = quantize_embeddings(embeddings, "ternary", ranges)
    with pytest.raises(ValueError, match="the last byte of these codes is padded; give dim=7"):
        dequantize_embeddings(codes, "ternary", ranges)
    with pytest.raises(ValueError, match="2 bytes of ternary codes hold 6 to 10 dimensions, not 11"):
        dequantize_embeddings(codes, "ternary", ranges, dim=11)
    with pytest.raises(ValueError, match="a byte of ternary codes is at most 242, not 250"):
        dequantize_embeddings(codes * 0 + 250, "ternary", ranges, dim=7)


def test_results_do_not_depend_on_the_block_size():
    rows = VALUES_AT_ONCE // 24 * 2 + 5
    embeddings = np.random.default_rng(0).normal(size=(rows, 24)).astype(np.float32)
    ranges = fitted(embeddings)
    array = np.vstack([ranges.low, ranges.high])
    assert np.array_equal(
        quantize_embeddings(embeddings, "int8", ranges), reference(embeddings, precision="int8", ranges=array)
    )
    several_blocks = np.resize(embeddings, (BITS_AT_ONCE // 24 * 2 + 5, 24))
    assert np.array_equal(quantize_embeddings(several_blocks, "binary"), reference(several_blocks, precision="binary"))
    for precision in RANGED:
        ranges = fitted(embeddings, precision)
        codes = quantize_embeddings(embeddings, precision, ranges)
        assert np.array_equal(codes, quantize_embeddings(torch.from_numpy(embeddings), precision, ranges).numpy())
        back = dequantize_embeddings(codes, precision, ranges, dim=24)
        assert np.array_equal(back, fake_quantize(torch.from_numpy(embeddings), precision, ranges).numpy())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dim", [28, 32])
def test_bytes_per_embedding_are_those_of_the_codes(precision, dim):
    embeddings = np.random.default_rng(0).normal(size=(3, dim)).astype(np.float32)
    codes = quantize_embeddings(embeddings, precision, fitted(embeddings, precision))
    assert codes.nbytes == 3 * bytes_per_embedding(precision, dim)


def test_bytes_of_the_packed_grids():
    sizes = {"int4": 192, "int2": 96, "int2_quantile": 96, "ternary": 77, "binary": 48}
    assert {precision: bytes_per_embedding(precision, 384) for precision in sizes} == sizes


@pytest.mark.parametrize("precision", RANGED)
def test_memory_beyond_the_result_is_two_megabytes(precision):
    embeddings = np.random.default_rng(0).normal(size=(30_000, 384)).astype(np.float32)
    ranges = fitted(embeddings[:500], precision)
    codes = quantize_embeddings(embeddings, precision, ranges)
    for act in (
        lambda: quantize_embeddings(embeddings, precision, ranges),
        lambda: dequantize_embeddings(codes, precision, ranges, dim=384),
    ):
        tracemalloc.start()
        result = act()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak - result.nbytes < 2.5 * 2**20


@given(ARRAYS, st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_products_of_weighted_queries_and_codes_are_those_of_decoded_documents(documents, seed):
    documents = np.clip(documents, -4, 4)
    queries = np.random.default_rng(seed).normal(size=(3, documents.shape[1])).astype(np.float32)
    ranges = MinMaxRange().fit(documents)
    codes = quantize_embeddings(documents, "int8", ranges)
    products = queries_for_codes(queries, ranges).astype(np.int64) @ codes.astype(np.int64).T
    decoded = dequantize_embeddings(codes, "int8", ranges).astype(np.float64)
    exact = queries.astype(np.float64) @ decoded.T
    steps = (ranges.high.astype(np.float64) - ranges.low) / 255
    scale = np.abs(queries * steps).max(axis=1, keepdims=True) / LARGEST_INT8
    # Each weight is rounded by at most half a unit, which is multiplied by the codes; float32 rounds the decoded values.
    spread = np.abs(codes.astype(np.float64) - codes[0]).sum(axis=1)
    bound = scale / 2 * spread + 1e-5 * np.abs(queries).sum(axis=1, keepdims=True) * 4 + 1e-9
    assert (np.abs((exact - exact[:, :1]) - scale * (products - products[:, :1])) <= bound).all()


def test_a_constant_dimension_takes_no_part_in_weighted_queries():
    documents = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32) / 1000
    documents[:, 3] = 0.7
    queries = np.ones((1, 8), dtype=np.float32)
    weighted = queries_for_codes(queries, MinMaxRange().fit(documents))
    assert weighted[0, 3] == 0
    assert np.abs(weighted).max() == LARGEST_INT8
    assert not queries_for_codes(0 * queries, MinMaxRange().fit(documents)).any()
    with pytest.raises(ValueError, match="queries contain NaN or Inf"):
        queries_for_codes(queries * np.nan, MinMaxRange().fit(documents))
