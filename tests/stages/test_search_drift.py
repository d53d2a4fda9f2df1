"""Effect of drift on search, compared with plain definitions of each metric and SciPy's Kendall's τ."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from qatlab.deployments.deployment import cosine
from qatlab.stages.drift import search_drift


def embeddings(seed, count, dim=8):
    values = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def moved(values, seed, size):
    return (values + size * np.random.default_rng(seed).standard_normal(values.shape)).astype(np.float32)


def test_unchanged_embeddings_have_no_effect():
    queries, documents = embeddings(0, 5), embeddings(1, 30)
    same = search_drift((queries, queries), (documents, 3 * documents), [np.array([0])] * 5)
    assert (same.top10_overlap, same.rank_flips) == (1, 0)
    assert same.margin_change == pytest.approx(0, abs=1e-7)
    assert same.kendall_tau == pytest.approx(1)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), size=st.sampled_from([0.01, 0.3, 3.0]), count=st.sampled_from([4, 12, 130]))
def test_values_follow_their_definitions(seed, size, count):
    queries, documents = embeddings(seed, 3), embeddings(seed + 1, count)
    queries_after, documents_after = moved(queries, seed + 2, size), moved(documents, seed + 3, size)
    relevant = [np.array([0]), np.array([1, 2]), np.array([], dtype=int)]
    got = search_drift((queries, queries_after), (documents, documents_after), relevant)
    overlaps, flips, margins, taus = [], [], [], []
    for query, query_after, neighbours in zip(queries, queries_after, relevant, strict=True):
        before = cosine(np.repeat(query[None], count, axis=0), documents)
        after = cosine(np.repeat(query_after[None], count, axis=0), documents_after)
        best, best_after = (sorted(range(count), key=lambda d, s=s: -s[d])[:10] for s in (before, after))
        overlaps.append(len(set(best) & set(best_after)) / len(best))
        pairs = list(combinations(best, 2))
        flips.append(sum(after[a] < after[b] for a, b in pairs) / len(pairs))
        first = sorted(range(count), key=lambda d: -before[d])[:100]
        taus.append(kendalltau(before[first], after[first]).statistic)
        if len(neighbours):
            others = [d for d in range(count) if d not in neighbours]
            margins.append(
                (after[neighbours].max() - after[others].max()) - (before[neighbours].max() - before[others].max())
            )
    assert got.top10_overlap == pytest.approx(np.mean(overlaps))
    assert got.rank_flips == pytest.approx(np.mean(flips))
    assert got.kendall_tau == pytest.approx(np.mean(taus))
    assert got.margin_change == pytest.approx(np.mean(margins), abs=1e-6)


def test_a_reversed_ranking_flips_every_pair():
    documents = np.array([[1.0, 0.1 * i] for i in range(10)], dtype=np.float32)
    queries = np.array([[0.0, 1.0]], dtype=np.float32)
    reverse = search_drift((queries, -queries), (documents, documents), [np.array([9])])
    assert reverse.rank_flips == 1
    assert reverse.kendall_tau == pytest.approx(-1)
    assert reverse.margin_change < 0


def test_without_a_relevant_document_there_is_no_margin():
    queries, documents = embeddings(0, 2), embeddings(1, 5)
    none = search_drift((queries, queries), (documents, documents), [np.array([], dtype=int)] * 2)
    assert np.isnan(none.margin_change)


def test_cosine_refuses_incomparable_embeddings():
    with pytest.raises(ValueError, match="cannot be compared text by text"):
        cosine(embeddings(0, 3), embeddings(0, 4))
    with pytest.raises(ValueError, match="all-zero embedding"):
        cosine(np.zeros((1, 4)), np.ones((1, 4)))
