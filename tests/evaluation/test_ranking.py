"""Rankings at each output, with a defined order of ties."""

import numpy as np
import pytest
from sentence_transformers.util import quantize_embeddings as reference

from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.axes import OnAxes, unit_length
from qatlab.evaluation.outputs import outputs
from qatlab.evaluation.ranking import SideRanges, rank, side_ranges
from qatlab.quantization import (
    FixedRange,
    MinMaxRange,
    PercentileRange,
    QuantileRange,
    fake_quantize,
    quantize_embeddings,
)


@pytest.fixture
def sides():
    generator = np.random.default_rng(0)
    return [unit_length(generator.normal(size=(n, 64)).astype(np.float32)) for n in (30, 400)]


def ranked(sides, depth=10, trained=(), **config):
    """Rank documents at the only output of a configuration."""
    config = EvaluateConfig(metrics=["ndcg@10"], **config)
    (output,) = outputs(config)
    queries, documents = (OnAxes(side) for side in sides)
    ranges = side_ranges([output], queries, documents, config, dict(trained))
    return rank(queries, documents, output, ranges.get(output.ranges, SideRanges()), depth)


def by_product(queries, documents, depth=10):
    scores = queries.astype(np.float64) @ documents.astype(np.float64).T
    return np.array([sorted(range(len(documents)), key=lambda d: (-row[d], d))[:depth] for row in scores])


def test_floats_are_compared_unchanged(sides):
    assert np.array_equal(ranked(sides, precisions=["float32"]), by_product(*sides))


def test_binary_orders_by_hamming_distance_and_ties_by_document(sides):
    bits = [np.unpackbits(quantize_embeddings(side, "ubinary"), axis=1) for side in sides]
    distances = (bits[0][:, None] != bits[1][None]).sum(axis=2)
    expected = np.array([sorted(range(400), key=lambda d: (row[d], d))[:10] for row in distances])
    assert np.array_equal(ranked(sides, precisions=["binary"]), expected)
    signs = [np.where(side > 0, 1, -1) for side in sides]
    assert np.array_equal(ranked(sides, precisions=["ubinary"]), by_product(*signs))


def test_depth_is_bounded_by_the_documents():
    eye = np.eye(4, dtype=np.float32)
    assert ranked((eye[:2], eye), 100, precisions=["float32"]).shape == (2, 4)


def test_each_side_has_its_own_precision(sides):
    queries, documents = sides
    signs = np.where(documents > 0, 1, -1)
    assert np.array_equal(ranked(sides, precisions=["float32_x_binary"]), by_product(queries, signs))
    int4 = fake_quantize(queries, "int4", MinMaxRange().fit(documents))
    assert np.array_equal(ranked(sides, precisions=["int4_x_binary"]), by_product(int4, signs))


@pytest.mark.parametrize(
    ("config", "fit"),
    [
        ({"range_kind": "minmax"}, lambda documents: MinMaxRange().fit(documents)),
        ({"range_kind": "percentile"}, lambda documents: PercentileRange().fit(documents)),
        ({"range_kind": "fixed", "range_limit": 0.2}, lambda _: FixedRange(0.2)),
    ],
)
def test_ranges_of_the_corpus_are_shared(sides, config, fit):
    on_grid = [fake_quantize(side, "int4", fit(sides[1])) for side in sides]
    assert np.array_equal(ranked(sides, precisions=["int4"], **config), by_product(*on_grid))


def test_ranges_per_call_are_fitted_on_each_side(sides):
    on_grid = [fake_quantize(side, "int8", MinMaxRange().fit(side)) for side in sides]
    assert np.array_equal(ranked(sides, precisions=["int8"], ranges="per_call"), by_product(*on_grid))


@pytest.mark.parametrize("precision", ["int2_quantile", "ternary"])
@pytest.mark.parametrize("range_kind", ["minmax", "fixed"])
def test_the_calibration_set_of_quantiles_does_not_depend_on_the_kind_of_range(sides, precision, range_kind):
    queries, documents = sides
    of_corpus = QuantileRange().fit(documents)
    on_grid = [fake_quantize(side, precision, of_corpus) for side in sides]
    config = {"precisions": [precision], "range_kind": range_kind}
    assert np.array_equal(ranked(sides, **config), by_product(*on_grid))
    on_grid = [fake_quantize(side, precision, QuantileRange().fit(side)) for side in sides]
    assert np.array_equal(ranked(sides, **config, ranges="per_call"), by_product(*on_grid))
    asymmetric = ranked(sides, precisions=[f"float32_x_{precision}"], range_kind=range_kind)
    assert np.array_equal(asymmetric, by_product(queries, fake_quantize(documents, precision, of_corpus)))
    own = {precision: QuantileRange().fit(documents[:50])}
    on_grid = [fake_quantize(side, precision, own[precision]) for side in sides]
    assert np.array_equal(ranked(sides, trained=own, **config, ranges="model"), by_product(*on_grid))


def test_both_kinds_of_cells_are_fitted_for_one_output(sides):
    queries, documents = sides
    result = ranked(sides, precisions=["int8_x_ternary"])
    int8 = fake_quantize(queries, "int8", MinMaxRange().fit(documents))
    ternary = fake_quantize(documents, "ternary", QuantileRange().fit(documents))
    assert np.array_equal(result, by_product(int8, ternary))


def test_rescoring_at_two_bits_orders_all_candidates_as_a_search_would(sides):
    everything = {"documents": "int2_quantile", "oversampling": 40, "top_k": 10}
    result = ranked(sides, precisions=["binary"], rescoring=[[everything]])
    assert np.array_equal(
        result, by_product(sides[0], fake_quantize(sides[1], "int2_quantile", QuantileRange().fit(sides[1])))
    )


@pytest.mark.parametrize(("precision", "count"), [("int2_quantile", 4), ("ternary", 3)])
def test_codes_between_quantiles_are_numbers_of_cells_around_zero(sides, precision, count):
    """CoRECT compares the same codes: the number of NumPy's percentiles below a value."""
    shares = [100 * k / count for k in range(1, count)]
    documents = sides[1][: 399 if count == 3 else 400]
    edges = np.percentile(documents, shares, axis=0, method="higher")
    cells = [(side[None] > edges[:, None]).sum(axis=0) for side in (sides[0], documents)]
    expected = by_product(*(side - count // 2 for side in cells))
    assert np.array_equal(ranked([sides[0], documents], precisions=[precision], scoring="codes"), expected)


def test_codes_per_call_are_those_of_sentence_transformers_own_functions(sides):
    """Without ranges, `quantize_embeddings` fits each side separately; the scores are products of codes."""
    codes = [reference(side, precision="int8").astype(np.int64) for side in sides]
    assert np.array_equal(ranked(sides, precisions=["int8"], scoring="codes", ranges="per_call"), by_product(*codes))


def test_ranges_saved_with_a_model_are_used_and_required(sides):
    own = {"int8": FixedRange(0.3)}
    on_grid = [fake_quantize(side, "int8", FixedRange(0.3)) for side in sides]
    assert np.array_equal(ranked(sides, trained=own, precisions=["int8"], ranges="model"), by_product(*on_grid))
    with pytest.raises(ValueError, match="no range of its own for int4, only for int8; set ranges: corpus"):
        ranked(sides, trained=own, precisions=["float32_x_int4"], ranges="model")


def test_rescoring_sorts_the_candidates_and_appends_the_others(sides):
    queries, documents = sides
    by_bits = ranked(sides, 60, precisions=["binary"])
    result = ranked(sides, 60, precisions=["binary"], rescoring="float32")
    assert np.array_equal(result[:, 40:], by_bits[:, 40:])
    for query, before, after in zip(queries, by_bits[:, :40], result[:, :40], strict=True):
        assert set(before) == set(after)
        assert (np.diff(documents[after] @ query) <= 1e-6).all()


def test_a_cascade_gives_the_result_of_its_last_step_on_all_candidates(sides):
    everything = {"oversampling": 40, "top_k": 10}
    cascade = [{"documents": "int8", **everything}, {"documents": "float32", "oversampling": 39, "top_k": 10}]
    result = ranked(sides, precisions=["binary"], rescoring=[cascade])
    assert np.array_equal(result, by_product(*sides))


def test_more_candidates_than_results_are_searched(sides):
    """Ten documents are requested and forty are rescored, so forty are searched."""
    assert np.array_equal(
        ranked(sides, 10, precisions=["binary"], rescoring="float32"),
        ranked(sides, 60, precisions=["binary"], rescoring="float32")[:, :10],
    )


def test_int4_codes_are_unpacked_before_they_are_compared(sides):
    ranges = MinMaxRange().fit(sides[1])
    cells = [
        np.clip(np.floor((side - ranges.low) / ((ranges.high - ranges.low) / 16)), 0, 15).astype(np.int64)
        for side in sides
    ]
    expected = by_product(*(side - 8 for side in cells))
    assert np.array_equal(ranked(sides, precisions=["int4"], scoring="codes"), expected)


@pytest.mark.parametrize("precision", ["int2", "int2_quantile", "ternary"])
def test_under_cosine_similarity_values_of_few_cells_have_unit_length(sides, precision):
    """The length of decoded values depends on their positions in the cells, which contain no information about the text."""
    config = EvaluateConfig(metrics=["ndcg@10"], precisions=[precision])
    (output,) = outputs(config)
    results = []
    for unit in (True, False):
        queries, documents = (OnAxes(unit_length(side), unit=unit) for side in sides)
        ranges = side_ranges([output], queries, documents, config, {})[output.ranges]
        results.append(rank(queries, documents, output, ranges, 10))
    ranges = (QuantileRange() if precision != "int2" else MinMaxRange()).fit(unit_length(sides[1]))
    query, document = (fake_quantize(unit_length(side), precision, ranges) for side in sides)
    for best, of in zip(results, (unit_length(document), document), strict=True):
        assert np.array_equal(best, by_product(query, of))
    assert not np.array_equal(*results)
