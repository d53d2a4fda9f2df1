"""Exhaustive search returns faiss's results, with ties in the order of documents for every block size."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qatlab.evaluation import search
from qatlab.evaluation.search import best_by_hamming, best_by_product, best_by_rabitq


def blocks(documents):
    return lambda first, last: documents[first:last]


def expected(queries, documents, depth):
    exact = queries.astype(np.float64) @ documents.astype(np.float64).T
    return np.array([sorted(range(len(documents)), key=lambda d: (-row[d], d))[:depth] for row in exact])


@given(
    queries=st.integers(1, 5),
    documents=st.integers(1, 60),
    dim=st.integers(1, 6),
    depth=st.integers(1, 70),
    block=st.integers(1, 40),
    number=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_small_integers_tie_often_and_always_in_the_order_of_documents(queries, documents, dim, depth, block, number):
    rng = np.random.default_rng(number)
    q, d = (rng.integers(-1, 2, size=(n, dim)).astype(np.float32) for n in (queries, documents))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "DOCUMENTS_AT_ONCE", block)
        patch.setattr(search, "SPARE", 2)
        result = best_by_product(q, blocks(d), len(d), depth)
    assert np.array_equal(result, expected(q, d, depth))


def test_equal_documents_keep_their_order_at_any_position(monkeypatch):
    """Matrix products may round copies of one embedding differently at different positions, so they are computed again."""
    monkeypatch.setattr(search, "DOCUMENTS_AT_ONCE", 1000)
    rng = np.random.default_rng(0)
    documents = rng.normal(size=(3001, 383)).astype(np.float32)
    copies = np.sort(rng.choice(3001, size=400, replace=False))
    documents[copies] = documents[copies[0]]
    result = best_by_product(documents[copies[:1]], blocks(documents), 3001, 50)
    assert result[0].tolist() == copies[:50].tolist()


def test_results_without_ties_are_those_of_faiss():
    rng = np.random.default_rng(1)
    queries, documents = (rng.normal(size=(n, 64)).astype(np.float32) for n in (40, 5000))
    index = faiss.IndexFlatIP(64)
    index.add(documents)
    assert np.array_equal(best_by_product(queries, blocks(documents), 5000, 20), index.search(queries, 20)[1])


@given(documents=st.integers(1, 300), depth=st.integers(1, 300), number=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_bits_by_hamming_distance_then_by_document(documents, depth, number):
    rng = np.random.default_rng(number)
    q, d = (rng.integers(0, 256, size=(n, 2), dtype=np.uint8) for n in (7, documents))
    distances = (np.unpackbits(q, axis=1)[:, None] != np.unpackbits(d, axis=1)[None]).sum(axis=2)
    order = np.array([sorted(range(documents), key=lambda at: (row[at], at))[:depth] for row in distances])
    assert np.array_equal(best_by_hamming(q, d, depth), order)


def estimated_products(queries, documents, query_bits):
    """Estimate inner products by the formulas of RaBitQ without a rotation (Gao and Long 2024, section 3.2, and 3.3 for queries)."""
    centre = documents.mean(axis=0)
    residuals, shifted = documents - centre, queries - centre
    codes = np.where(residuals > 0, 1, -1) / np.sqrt(documents.shape[1])
    low, high = shifted.min(axis=1, keepdims=True), shifted.max(axis=1, keepdims=True)
    step = (high - low) / (2**query_bits - 1)
    rounded = low + step * np.floor((shifted - low) / step + 0.5)
    lengths = np.linalg.norm(residuals, axis=1)
    along = (codes * residuals).sum(axis=1) / lengths  # the product of a document's unit residual with its code
    return rounded @ codes.T * lengths / along + (residuals @ centre) + (queries @ centre)[:, None]


@pytest.mark.parametrize("query_bits", [1, 4, 8])
def test_bits_without_a_rotation_are_compared_by_the_formulas_of_the_paper(query_bits):
    rng = np.random.default_rng(3)
    documents, queries = (rng.normal(0.3, 1, size=(n, 64)).astype(np.float32) for n in (500, 40))
    estimates = estimated_products(queries.astype(np.float64), documents.astype(np.float64), query_bits)
    order = np.argsort(-estimates, axis=1)[:, :10]
    best = best_by_rabitq(queries, blocks(documents), 500, 10, seed=None, query_bits=query_bits)
    assert (
        best == order
    ).mean() > 0.99  # two estimates that differ by less than the rounding error of float32 may change places


def test_rabitq_estimates_better_than_bits_do():
    """The recall of the ten nearest documents from one bit per dimension is higher with the estimator than with signs."""
    rng = np.random.default_rng(2)
    scale = np.exp(rng.normal(size=128))
    documents, queries = ((rng.normal(size=(n, 128)) * scale + 0.5).astype(np.float32) for n in (4000, 50))
    truth = expected(queries, documents, 10)
    estimated = best_by_rabitq(queries, blocks(documents), 4000, 10, seed=0)
    by_bits = best_by_product(queries, blocks(np.where(documents > 0, 1, -1).astype(np.float32)), 4000, 10)
    recall = [
        np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, result, strict=True)])
        for result in (estimated, by_bits)
    ]
    assert recall[0] > recall[1] + 0.1
    assert np.array_equal(estimated, best_by_rabitq(queries, blocks(documents), 4000, 10, seed=0))
