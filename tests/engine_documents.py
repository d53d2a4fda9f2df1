"""Documents and queries for tests of search engines, and checks of what an engine returns."""

from types import SimpleNamespace

import numpy as np

COUNT, DIM, K = 500, 64, 10
_RNG = np.random.default_rng(0)
DOCUMENTS = _RNG.normal(size=(COUNT, DIM)).astype(np.float32)
DOCUMENTS /= np.linalg.norm(DOCUMENTS, axis=1, keepdims=True)
SCALED = DOCUMENTS * np.linspace(0.5, 2, COUNT, dtype=np.float32)[:, None]  # embeddings of different lengths
QUERIES = _RNG.normal(size=(20, DIM)).astype(np.float32)
QUERIES /= np.linalg.norm(QUERIES, axis=1, keepdims=True)
BITS, QUERY_BITS = np.packbits(DOCUMENTS > 0, axis=1), np.packbits(QUERIES > 0, axis=1)


def vectors(received, similarity="cosine", floats=DOCUMENTS):
    """Return documents in two blocks, as an engine receives them."""

    def blocks(values):
        return lambda: iter((values[:300], values[300:]))

    return SimpleNamespace(
        count=len(received), dim=floats.shape[1], similarity=similarity, blocks=blocks(received), floats=blocks(floats)
    )


def ranks_as(ids, scores):
    """Return whether ids are the best by score, in the order of scores; which of several equal scores is open."""
    best = np.sort(scores)[::-1][: len(ids)]
    return len(set(ids.tolist())) == len(ids) and np.allclose(
        scores[ids], best, rtol=0, atol=2e-6 * np.abs(scores).max()
    )


def hamming(bits, query):
    """Return the Hamming distance of one query to each document, (n,) int64."""
    return np.bitwise_count(bits ^ query).sum(axis=1).astype(np.int64)


def check_rescored(ids, distances, scores, candidates):
    """Check that ids are in the order of scores, and the best of the documents with the smallest distances."""
    last = np.sort(distances)[candidates - 1]
    assert (distances <= last)[ids].all()  # Which of the documents at the last distance are candidates is open.
    better = np.flatnonzero((distances < last) & (scores > scores[ids[-1]] + 1e-6))
    assert set(better) <= set(ids.tolist())
    assert np.all(np.diff(scores[ids]) <= 1e-6)


def alike(mode, stored, searched, ids, expected):
    """Return the share of documents that are those of another search, or have the scores of its documents.

    Args:
        mode: Mode in which both searches have stored the documents.
        stored: What the engine received of documents.
        searched: What it received of queries.
        ids: (q, k) int64, the best documents of each query.
        expected: (q, k) int64, those of the other search.
    """
    if mode.stored == "int8" and mode.quantizer == "engine":  # whose scores are those of other codes
        return np.mean([np.isin(a, b).mean() for a, b in zip(ids, expected, strict=True)])
    ours, theirs = (_scores(mode, stored, searched, best) for best in (ids, expected))
    return np.mean(np.abs(ours - theirs) <= 1e-5 if mode.index == "exact" else ours >= theirs[:, -1:] - 1e-5)


def _scores(mode, stored, searched, ids):
    if mode.stored == "bits" and mode.quantizer == "engine":
        stored, searched = np.packbits(stored > 0, axis=1), np.packbits(searched > 0, axis=1)
    if mode.stored == "bits":
        return -np.bitwise_count(stored[ids] ^ searched[:, None]).sum(axis=2).astype(np.float64)
    return np.einsum("qkd,qd->qk", stored[ids].astype(np.float64), searched.astype(np.float64))
