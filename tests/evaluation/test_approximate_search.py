"""Graphs, lists and faiss's scalar quantizer find nearly the same as an exhaustive search, and mark missing ranks."""

import faiss
import numpy as np
import pytest

from qatlab.config.evaluate import EvaluateConfig, IndexConfig
from qatlab.config.precision import RotationConfig
from qatlab.errors import UserError
from qatlab.evaluation.axes import on_axes, unit_length
from qatlab.evaluation.outputs import outputs
from qatlab.evaluation.ranking import SideRanges, rank
from qatlab.evaluation.search import NOTHING, best_by_hamming, best_by_product, best_near_bits, best_near_values

GENERATOR = np.random.default_rng(0)
DOCUMENTS = unit_length(GENERATOR.normal(size=(3000, 32)).astype(np.float32))
QUERIES = unit_length(DOCUMENTS[:50] + 0.1 * GENERATOR.normal(size=(50, 32)).astype(np.float32))
BITS = [np.packbits(side > 0, axis=1) for side in (QUERIES, DOCUMENTS)]


def block(first, last):
    return DOCUMENTS[first:last]


def overlap(a, b):
    return np.mean([len(set(x) & set(y)) / len(y) for x, y in zip(a, b, strict=True)])


@pytest.mark.parametrize("config", [IndexConfig(kind="hnsw", ef_search=200), IndexConfig(kind="ivf", probes=25)])
def test_nearest_documents_are_found(config):
    exact = best_by_product(QUERIES, block, 3000, 10)
    assert overlap(best_near_values(QUERIES, block, 3000, 10, config), exact) > 0.9
    exact_bits = best_by_hamming(*BITS, 10)
    near = best_near_bits(*BITS, 10, config)
    distances = [np.unpackbits(BITS[0][:, None] ^ BITS[1][at], axis=2).sum(axis=2) for at in (near, exact_bits)]
    assert np.mean(distances[0] == distances[1]) > 0.9


def test_probing_all_lists_equals_an_exhaustive_search():
    config = IndexConfig(kind="ivf", lists=20, probes=20)
    assert np.array_equal(best_near_values(QUERIES, block, 3000, 10, config), best_by_product(QUERIES, block, 3000, 10))
    assert np.array_equal(best_near_bits(*BITS, 10, config), best_by_hamming(*BITS, 10))


def test_results_are_deterministic():
    for config in (IndexConfig(kind="hnsw"), IndexConfig(kind="ivf"), IndexConfig(kind="pq", code_bytes=4)):
        results = [best_near_values(QUERIES, block, 3000, 10, config) for _ in range(2)]
        assert np.array_equal(*results)


def test_a_product_quantizer_compares_queries_with_decoded_documents():
    best = best_near_values(QUERIES, block, 3000, 10, IndexConfig(kind="pq", code_bytes=4))
    quantizer = faiss.ProductQuantizer(32, 4, 8)
    quantizer.train(DOCUMENTS)
    decoded = quantizer.decode(quantizer.compute_codes(DOCUMENTS))
    expected = best_by_product(QUERIES, lambda first, last: decoded[first:last], 3000, 10)
    assert (best == expected).mean() > 0.99  # sums of tables have other rounding errors
    exact = best_by_product(QUERIES, block, 3000, 10)
    assert overlap(best, exact) > overlap(best_by_hamming(*BITS, 10), exact) + 0.05  # which are four bytes, too


def test_a_product_quantizer_stores_float_documents_alone():
    index = ["flat", {"kind": "pq", "code_bytes": 16}]
    config = EvaluateConfig(metrics=["ndcg@10"], precisions=["float32", "int8", "binary"], index=index)
    names = {output.name: (output.document_bytes(32), output.described(32)["fitted_on"]) for output in outputs(config)}
    assert names == {
        "none/float32/dot": (128, "none"),
        "none/float32/dot/pq_16": (16, "corpus"),
        "none/int8/dequantized/corpus": (32, "none"),
        "none/binary/hamming": (4, "none"),
    }


@pytest.mark.parametrize(
    ("code_bytes", "count", "message"),
    [
        (5, 3000, "code_bytes 5 does not divide 32 dimensions; set a divisor of 32"),
        (4, 255, "pq is fitted on at least 256 documents, and a task has 255; leave pq out"),
    ],
)
def test_a_product_quantizer_that_cannot_be_fitted_is_refused(code_bytes, count, message):
    with pytest.raises(UserError, match=message):
        best_near_values(QUERIES, block, count, 10, IndexConfig(kind="pq", code_bytes=code_bytes))


def test_ranks_without_a_document_have_nothing():
    config = IndexConfig(kind="ivf", lists=1500, probes=1)
    result = best_near_values(QUERIES, block, 3000, 20, config)
    assert result.shape == (50, 20)
    assert (result == NOTHING).any()
    assert not (result[:, 0] == NOTHING).any()
    empty = result == NOTHING
    assert np.array_equal(np.sort(empty, axis=1), empty)  # at the end


def test_rescoring_keeps_ranks_without_a_document_at_the_end():
    index = {"kind": "ivf", "lists": 1500, "probes": 1}
    config = EvaluateConfig(metrics=["ndcg@10"], precisions=["binary"], index=[index], rescoring=["float32"])
    (output,) = outputs(config)
    sides = on_axes(QUERIES, DOCUMENTS, RotationConfig(), None, "cosine")
    result = rank(*sides, output, SideRanges(), 20)
    assert (result == NOTHING).any()
    assert np.array_equal(np.sort(result == NOTHING, axis=1), result == NOTHING)


@pytest.mark.parametrize(("precision", "least"), [("float16", 0.99), ("int8", 0.97), ("int4", 0.7)])
def test_the_scalar_quantizer_stores_documents(precision, least):
    config = EvaluateConfig(metrics=["ndcg@10"], precisions=[f"float32_x_{precision}"], scoring=["scalar_quantizer"])
    (output,) = outputs(config)
    sides = on_axes(QUERIES, DOCUMENTS, RotationConfig(), None, "cosine")
    result = rank(*sides, output, SideRanges(), 10)
    assert overlap(result, best_by_product(QUERIES, block, 3000, 10)) > least
    assert output.document_bytes(32) == {"float16": 64, "int8": 32, "int4": 16}[precision]
