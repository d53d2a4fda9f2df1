"""Rankings at each precision, with ties in a defined order."""

import faiss
import numpy as np
import pytest
from sentence_transformers.util import quantize_embeddings as reference

from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.ranking import index_ranges, on_grid, rank, scoring, unit_length
from qatlab.quantization import FixedRange, MinMaxRange, PercentileRange, fake_quantize, quantize_embeddings

CORPUS = EvaluateConfig(metrics=["ndcg@10"], precisions=["int8", "int4"])


def ranked(queries, documents, precision, depth):
    return rank(queries, documents, precision, CORPUS, index_ranges(documents, CORPUS, {}), depth)


def laid_out(queries, documents, precision, config):
    return on_grid(queries, documents, precision, config, index_ranges(documents, config, {}))


@pytest.fixture
def sides():
    generator = np.random.default_rng(0)
    return (unit_length(generator.normal(size=(n, 64)).astype(np.float32)) for n in (30, 400))


def test_float32_equals_faiss(sides):
    queries, documents = sides
    index = faiss.IndexFlatIP(64)
    index.add(documents)
    assert np.array_equal(ranked(queries, documents, "float32", 10), index.search(queries, 10)[1])


def test_binary_orders_by_hamming_distance_and_ties_by_document(sides):
    queries, documents = sides
    bits = [np.unpackbits(quantize_embeddings(side, "ubinary"), axis=1) for side in (queries, documents)]
    distances = (bits[0][:, None] != bits[1][None]).sum(axis=2)
    expected = np.array([sorted(range(400), key=lambda d: (row[d], d))[:10] for row in distances])
    assert np.array_equal(ranked(queries, documents, "binary", 10), expected)


def test_int8_with_the_corpus_range_stays_close_to_float(sides):
    queries, documents = sides
    exact, int8 = (ranked(queries, documents, precision, 10) for precision in ("float32", "int8"))
    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, int8, strict=True)])
    assert overlap > 0.95


def test_depth_is_bounded_by_the_documents():
    assert ranked(np.eye(4, dtype=np.float32)[:2], np.eye(4, dtype=np.float32), "float32", 100).shape == (2, 4)


def test_an_all_zero_vector_keeps_its_length():
    assert not unit_length(np.zeros((1, 3), dtype=np.float32)).any()


def test_each_side_has_its_own_precision(sides):
    queries, documents = sides
    found_queries, found_documents = laid_out(queries, documents, "float32_x_binary", CORPUS)
    assert np.array_equal(found_queries, queries)
    assert np.array_equal(found_documents, np.where(documents > 0, 1, -1))
    index = faiss.IndexFlatIP(64)
    index.add(np.where(documents > 0, 1, -1).astype(np.float32))
    assert np.array_equal(ranked(queries, documents, "float32_x_binary", 10), index.search(queries, 10)[1])
    found_queries, _ = laid_out(queries, documents, "int4_x_binary", CORPUS)
    assert np.array_equal(found_queries, fake_quantize(queries, "int4", MinMaxRange().fit(documents)))


def test_ranges_are_fitted_on_what_the_configuration_names(sides):
    queries, documents = sides
    by_kind = {
        "corpus": MinMaxRange().fit(documents),
        "percentile": PercentileRange().fit(documents),
        "fixed": FixedRange(0.2),
    }
    for kind, ranges in by_kind.items():
        config = CORPUS.model_copy(update={"range_kind": "minmax" if kind == "corpus" else kind, "range_limit": 0.2})
        for found, side in zip(laid_out(queries, documents, "int8", config), (queries, documents), strict=True):
            assert np.array_equal(found, fake_quantize(side, "int8", ranges))
    per_call = CORPUS.model_copy(update={"ranges": "per_call"})
    found, _ = laid_out(queries, documents, "int8", per_call)
    codes = quantize_embeddings(queries, "int8", MinMaxRange().fit(queries))
    assert np.array_equal(codes, reference(queries, precision="int8"))  # the library's own default
    assert np.array_equal(found, fake_quantize(queries, "int8", MinMaxRange().fit(queries)))


def test_a_models_own_ranges_are_used_and_missed(sides):
    queries, documents = sides
    own = {"int8": FixedRange(0.3)}
    config = CORPUS.model_copy(update={"ranges": "model", "precisions": ["int8"]})
    found, _ = on_grid(queries, documents, "int8", config, index_ranges(documents, config, own))
    assert np.array_equal(found, fake_quantize(queries, "int8", FixedRange(0.3)))
    config = CORPUS.model_copy(update={"ranges": "model", "precisions": ["int8", "float32_x_int4"]})
    with pytest.raises(ValueError, match="no range of its own for int4, only for int8; use ranges: corpus"):
        index_ranges(documents, config, own)


def test_scoring_is_named_after_what_is_done():
    names = {name: scoring(name) for name in ("float32", "int8", "binary", "float32_x_binary", "ubinary")}
    assert names == {
        "float32": "dot",
        "int8": "dequantized",
        "binary": "hamming",
        "float32_x_binary": "dequantized",
        "ubinary": "hamming",
    }
