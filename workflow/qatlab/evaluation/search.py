"""Exhaustive search with faiss, in bounded memory, with equal scores in the order of documents.

faiss leaves the order of equal scores open, and rounds a product differently with where a document stands. So more documents than
asked are fetched, their products computed again in one way for all, and more still where the last of them may tie.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import faiss
import numpy as np

from qatlab.evaluation.stopwatch import NOT_TIMED

DOCUMENTS_AT_ONCE = 1 << 14  # 25 MB of float32 in 384 dimensions
VALUES_AT_ONCE = 1 << 24  # 128 MB of float64
SPARE = 28
NOTHING = -1  # faiss's position of a document that it did not find
ROUNDING = 1e-5  # of products in float32, relative to the largest
Block = Callable[[int, int], np.ndarray]
Timed = AbstractContextManager[Any]


def best_by_product(
    queries: np.ndarray, documents: Block, count: int, depth: int, watch: Timed = NOT_TIMED
) -> np.ndarray:
    """Positions of the documents with the largest inner products, best first; equal ones in the order of documents.

    Args:
        queries: (q, dim) float32.
        documents: gives those from a first to before a last position, (n, dim) float32.
        count: how many documents there are.
        depth: how many are wanted.
        watch: times comparing and ordering, not what `documents` does.

    Returns:
        (q, min(depth, count)) int64.
    """
    scores: np.ndarray = np.empty((len(queries), 0))
    at: np.ndarray = np.empty((len(queries), 0), dtype=np.int64)
    for first in range(0, count, DOCUMENTS_AT_ONCE):
        values = np.ascontiguousarray(documents(first, min(first + DOCUMENTS_AT_ONCE, count)))
        with watch:
            found, found_scores = _of_block(queries, values, min(depth, len(values)))
            scores, at = np.hstack([scores, found_scores]), np.hstack([at, found + first])
            kept = np.lexsort((at, -scores), axis=1)[:, :depth]
            scores, at = (np.take_along_axis(side, kept, axis=1) for side in (scores, at))
    return at


def best_by_hamming(queries: np.ndarray, documents: np.ndarray, depth: int, watch: Timed = NOT_TIMED) -> np.ndarray:
    """Positions of the documents whose bits differ least, best first; equal ones in the order of documents.

    Args:
        queries, documents: (q, bytes) and (d, bytes) uint8, packed.
        watch: times the search, not making the index.

    Returns:
        (q, min(depth, d)) int64.
    """
    index = faiss.IndexBinaryFlat(documents.shape[1] * 8)
    # Documents are then counted by distance in their order, which is the order that ties are wanted in.
    index.use_heap = False  # type: ignore[attr-defined]
    index.add(np.ascontiguousarray(documents))
    with watch:
        at: np.ndarray = index.search(np.ascontiguousarray(queries), min(depth, len(documents)))[1]
    return at


def best_by_rabitq(
    queries: np.ndarray, documents: Block, count: int, depth: int, seed: int, watch: Timed = NOT_TIMED
) -> np.ndarray:
    """Positions of the documents with the largest inner products as RaBitQ estimates them from a bit a dimension.

    Documents are centred and turned at random, and keep two factors beside their bits; queries have 8 bits a dimension.

    Args:
        queries: (q, dim) float32.
        documents, count, depth: as for `best_by_product`.
        seed: of the rotation.
        watch: times the search, not making the index.

    Returns:
        (q, min(depth, count)) int64.

    References:
        Gao and Long 2024, "RaBitQ", https://arxiv.org/abs/2405.12497
    """
    dim = queries.shape[1]
    turn = faiss.RandomRotationMatrix(dim, dim)
    turn.init(seed)
    bits = faiss.IndexRaBitQ(dim, faiss.METRIC_INNER_PRODUCT)
    bits.qb = 8
    index = faiss.IndexPreTransform(turn, bits)
    index.train(np.ascontiguousarray(documents(0, min(count, DOCUMENTS_AT_ONCE))))
    for first in range(0, count, DOCUMENTS_AT_ONCE):
        index.add(np.ascontiguousarray(documents(first, min(first + DOCUMENTS_AT_ONCE, count))))
    depth = min(depth, count)
    with watch:
        scores, at = index.search(queries, min(depth + SPARE, count))
        best: np.ndarray = np.take_along_axis(at, np.lexsort((at, -scores), axis=1), axis=1)[:, :depth]
    return best


def products(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Of each query with documents of its own, in one order of summation wherever they stand.

    Args:
        queries: (q, dim) floats.
        documents: (q, n, dim) floats.

    Returns:
        (q, n) float64.
    """
    return np.einsum("qd,qnd->qn", queries.astype(np.float64), documents.astype(np.float64))


def _of_block(queries: np.ndarray, values: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The best of one block, in order, and their products."""
    best, scores = np.empty((len(queries), depth), dtype=np.int64), np.empty((len(queries), depth))
    waiting, asked = np.arange(len(queries)), min(depth + SPARE, len(values))
    while len(waiting):
        found_scores, found = faiss.knn(queries[waiting], values, asked, metric=faiss.METRIC_INNER_PRODUCT)
        exact = _exact(queries[waiting], values, found)
        order = np.lexsort((found, -exact), axis=1)[:, :depth]
        best[waiting], scores[waiting] = (np.take_along_axis(side, order, axis=1) for side in (found, exact))
        if asked == len(values):
            break
        slack = ROUNDING * np.abs(found_scores).max(axis=1)
        waiting = waiting[scores[waiting, -1] <= found_scores[:, -1] + slack]
        asked = min(asked * 4, len(values))
    return best, scores


def _exact(queries: np.ndarray, values: np.ndarray, found: np.ndarray) -> np.ndarray:
    at_once = max(1, VALUES_AT_ONCE // (found.shape[1] * values.shape[1]))
    rows = [slice(first, first + at_once) for first in range(0, len(queries), at_once)]
    return np.concatenate([products(queries[row], values[found[row]]) for row in rows])
