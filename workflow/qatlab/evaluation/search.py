"""Search with faiss, and what a query costs.

Exhaustive search takes bounded memory and has equal scores in the order of documents. Search with graphs (HNSW), inverted
lists (IVF), the product quantizer (PQ) and the scalar quantizer finds what a shipped index would find.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

import faiss
import numpy as np

from qatlab.config.evaluate import IndexConfig
from qatlab.errors import UserError

NOT_TIMED: AbstractContextManager[Any] = nullcontext()


class Stopwatch(AbstractContextManager["Stopwatch", None]):
    """Context manager that adds up the time spent in its `with` blocks.

    Attributes:
        seconds: Total time so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._began


# Exhaustive search with faiss in bounded memory, with documents of equal scores in their original order.
#
# faiss does not define the order of equal scores, and its rounding of a product depends on the position of the document. The search
# therefore requests more documents than needed, computes their products again in a single way, and requests further documents where
# the last ones may have equal scores.

DOCUMENTS_AT_ONCE = 1 << 14  # 25 MB of float32 in 384 dimensions
VALUES_AT_ONCE = 1 << 24  # 128 MB of float64
SPARE = 28
NOTHING = -1  # faiss's position for ranks without a document
ROUNDING = 1e-5  # bound of the rounding error of float32 products, relative to the largest product
Block = Callable[[int, int], np.ndarray]
Timed = AbstractContextManager[Any]


def best_by_product(
    queries: np.ndarray, documents: Block, count: int, depth: int, watch: Timed = NOT_TIMED
) -> np.ndarray:
    """Return the positions of the documents with the largest inner products, best first; ties keep the order of documents.

    Args:
        queries: (q, dim) float32.
        documents: Function that returns the documents from a first to before a last position, (n, dim) float32.
        count: Number of documents.
        depth: Number of documents to return per query.
        watch: Context that times the comparison and ordering of documents, but not `documents`.

    Returns:
        (q, min(depth, count)) int64.
    """
    scores: np.ndarray = np.empty((len(queries), 0))
    positions: np.ndarray = np.empty((len(queries), 0), dtype=np.int64)
    for first in range(0, count, DOCUMENTS_AT_ONCE):
        values = np.ascontiguousarray(documents(first, min(first + DOCUMENTS_AT_ONCE, count)))
        with watch:
            block_positions, block_scores = _search_block(queries, values, min(depth, len(values)))
            scores, positions = np.hstack([scores, block_scores]), np.hstack([positions, block_positions + first])
            order = np.lexsort((positions, -scores), axis=1)[:, :depth]
            scores, positions = (np.take_along_axis(side, order, axis=1) for side in (scores, positions))
    return positions


def best_by_hamming(queries: np.ndarray, documents: np.ndarray, depth: int, watch: Timed = NOT_TIMED) -> np.ndarray:
    """Return the positions of the documents with the smallest Hamming distance, best first; ties keep the order of documents.

    Args:
        queries: (q, bytes) uint8, packed bits.
        documents: (d, bytes) uint8, packed bits.
        depth: Number of documents to return per query.
        watch: Context that times the search, but not the construction of the index.

    Returns:
        (q, min(depth, d)) int64.
    """
    index = faiss.IndexBinaryFlat(documents.shape[1] * 8)
    # Without a heap, faiss sorts documents into one bucket per distance in their original order, so that ties keep this order.
    index.use_heap = False  # type: ignore[attr-defined]
    index.add(np.ascontiguousarray(documents))
    with watch:
        positions: np.ndarray = index.search(np.ascontiguousarray(queries), min(depth, len(documents)))[1]
    return positions


def best_by_rabitq(
    queries: np.ndarray,
    documents: Block,
    count: int,
    depth: int,
    seed: int | None,
    watch: Timed = NOT_TIMED,
    query_bits: int = 8,
) -> np.ndarray:
    """Return the positions of the documents with the largest inner products, which RaBitQ estimates from one bit per dimension.

    Documents are centred, and have two factors in addition to their bits. Without a rotation and with queries of 4 bits, this is how
    "Better Binary Quantization" of Lucene 10.0 and Elasticsearch 8.16 compares embeddings.

    Args:
        queries: (q, dim) float32.
        documents: Function that returns the documents from a first to before a last position, (n, dim) float32.
        count: Number of documents.
        depth: Number of documents to return per query.
        seed: Random seed of the rotation, which RaBitQ's error bound requires; None rotates nothing.
        watch: Context that times the search, but not the construction of the index.
        query_bits: Number of bits per dimension of a query, 1 to 8.

    Returns:
        (q, min(depth, count)) int64.

    References:
        Gao and Long 2024, "RaBitQ", https://arxiv.org/abs/2405.12497
        Trent 2024, "Better Binary Quantization (BBQ) in Lucene and Elasticsearch",
        https://www.elastic.co/search-labs/blog/better-binary-quantization-lucene-elasticsearch
    """
    dim = queries.shape[1]
    bits = faiss.IndexRaBitQ(dim, faiss.METRIC_INNER_PRODUCT)
    bits.qb = query_bits
    index: Any = bits
    if seed is not None:
        rotation = faiss.RandomRotationMatrix(dim, dim)
        rotation.init(seed)
        index = faiss.IndexPreTransform(rotation, bits)
    index.train(np.ascontiguousarray(documents(0, min(count, DOCUMENTS_AT_ONCE))))
    for first in range(0, count, DOCUMENTS_AT_ONCE):
        index.add(np.ascontiguousarray(documents(first, min(first + DOCUMENTS_AT_ONCE, count))))
    depth = min(depth, count)
    with watch:
        scores, positions = index.search(queries, min(depth + SPARE, count))
        order = np.lexsort((positions, -scores), axis=1)
        best: np.ndarray = np.take_along_axis(positions, order, axis=1)[:, :depth]
    return best


def products(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Return the inner products of each query with its own documents, summed in an order that does not depend on positions.

    Args:
        queries: (q, dim) floats.
        documents: (q, n, dim) floats.

    Returns:
        (q, n) float64.
    """
    return np.einsum("qd,qnd->qn", queries.astype(np.float64), documents.astype(np.float64))


def _search_block(queries: np.ndarray, values: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the best documents of one block, in order, and their products."""
    best, scores = np.empty((len(queries), depth), dtype=np.int64), np.empty((len(queries), depth))
    pending, requested = np.arange(len(queries)), min(depth + SPARE, len(values))
    while len(pending):
        rounded, positions = faiss.knn(queries[pending], values, requested, metric=faiss.METRIC_INNER_PRODUCT)
        exact = _exact(queries[pending], values, positions)
        order = np.lexsort((positions, -exact), axis=1)[:, :depth]
        best[pending], scores[pending] = (np.take_along_axis(side, order, axis=1) for side in (positions, exact))
        if requested == len(values):
            break
        # A query is searched again if a document that faiss did not return may have the same or a larger exact product.
        slack = ROUNDING * np.abs(rounded).max(axis=1)
        pending = pending[scores[pending, -1] <= rounded[:, -1] + slack]
        requested = min(requested * 4, len(values))
    return best, scores


def _exact(queries: np.ndarray, values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    at_once = max(1, VALUES_AT_ONCE // (positions.shape[1] * values.shape[1]))
    rows = [slice(first, first + at_once) for first in range(0, len(queries), at_once)]
    return np.concatenate([products(queries[row], values[positions[row]]) for row in rows])


# Search with faiss's graphs (HNSW), inverted lists (IVF), product quantizer (PQ) and scalar quantizer, as a deployed index would search.
#
# Graphs and lists are built and searched in one thread, because links and clusters depend on the order in which documents are added.

SCALAR_TYPES = {
    "int8": faiss.ScalarQuantizer.QT_8bit,
    "int4": faiss.ScalarQuantizer.QT_4bit,
    "float16": faiss.ScalarQuantizer.QT_fp16,
}
CENTROIDS = 256  # in each part of a product quantizer's dimensions
TRAINED_ON = 1 << 16  # maximum number of documents that clusters and scales are fitted on


def best_near_values(
    queries: np.ndarray, documents: Block, count: int, depth: int, config: IndexConfig, watch: Timed = NOT_TIMED
) -> np.ndarray:
    """Return the positions of documents with large inner products, best first; ties keep the order of documents.

    Args:
        queries: (q, dim) float32.
        documents: Function that returns the documents from a first to before a last position, (n, dim) float32.
        count: Number of documents.
        depth: Number of documents to return per query.
        config: The index, hnsw, ivf or pq.
        watch: Context that times the search, but not the construction of the index.

    Returns:
        (q, min(depth, count)) int64, NOTHING where the index found fewer documents.

    Raises:
        UserError: For a product quantizer that does not fit the dimensions, or has too few documents to be fitted on.

    References:
        Jégou et al. 2011, "Product quantization for nearest neighbor search", https://doi.org/10.1109/TPAMI.2010.57
    """
    dim = queries.shape[1]
    if config.kind == "hnsw":
        index: Any = faiss.IndexHNSWFlat(dim, config.m, faiss.METRIC_INNER_PRODUCT)
    elif config.kind == "pq":
        if dim % config.code_bytes:
            raise UserError(
                f"evaluate.index: code_bytes {config.code_bytes} does not divide {dim} dimensions; set a divisor of {dim}"
            )
        if count < CENTROIDS:
            raise UserError(
                f"evaluate.index: pq is fitted on at least {CENTROIDS} documents, and a task has {count}; leave pq out"
            )
        index = faiss.IndexPQ(dim, config.code_bytes, 8, faiss.METRIC_INNER_PRODUCT)
    else:
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, _lists(config, count), faiss.METRIC_INNER_PRODUCT)
    with _one_thread():
        _fill(index, documents, count, config)
        _set_search(index, config, depth)
        with watch:
            scores, positions = index.search(queries, min(depth + SPARE, count))
            return _ordered(-scores, positions, min(depth, count))


def best_near_bits(
    queries: np.ndarray, documents: np.ndarray, depth: int, config: IndexConfig, watch: Timed = NOT_TIMED
) -> np.ndarray:
    """Return the positions of documents with a small Hamming distance, best first; ties keep the order of documents.

    Args:
        queries: (q, bytes) uint8, packed bits.
        documents: (d, bytes) uint8, packed bits.
        depth: Number of documents to return per query.
        config: The index, hnsw or ivf.
        watch: Context that times the search, but not the construction of the index.

    Returns:
        (q, min(depth, d)) int64, NOTHING where the index found fewer documents.
    """
    bits, count = documents.shape[1] * 8, len(documents)
    if config.kind == "hnsw":
        index: Any = faiss.IndexBinaryHNSW(bits, config.m)
    else:
        index = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(bits), bits, _lists(config, count))
    with _one_thread():
        _fill(index, lambda first, last: documents[first:last], count, config)
        _set_search(index, config, depth)
        with watch:
            distances, positions = index.search(np.ascontiguousarray(queries), min(depth + SPARE, count))
            return _ordered(distances, positions, min(depth, count))


def best_by_scalar_quantizer(
    queries: np.ndarray, documents: Block, count: int, depth: int, precision: str, watch: Timed = NOT_TIMED
) -> np.ndarray:
    """Return the positions of the documents with the largest inner products, as stored by faiss's scalar quantizer.

    The search is exhaustive; ties keep the order of documents.

    Args:
        queries: (q, dim) float32.
        documents: Function that returns the documents from a first to before a last position, (n, dim) float32.
        count: Number of documents.
        depth: Number of documents to return per query.
        precision: int8 or int4, whose range is that of the extremes of each dimension, or float16.
        watch: Context that times the search, but not the construction of the index.

    Returns:
        (q, min(depth, count)) int64.
    """
    index = faiss.IndexScalarQuantizer(queries.shape[1], SCALAR_TYPES[precision], faiss.METRIC_INNER_PRODUCT)
    _fill(index, documents, count, None)
    with watch:
        scores, positions = index.search(queries, min(depth + SPARE, count))
        return _ordered(-scores, positions, min(depth, count))


def _lists(config: IndexConfig, count: int) -> int:
    return min(config.lists or max(1, round(count**0.5)), count)


def _fill(index: Any, documents: Block, count: int, config: IndexConfig | None) -> None:
    if config is not None and config.kind == "hnsw":
        index.hnsw.efConstruction = config.ef_construction
    elif not index.is_trained:
        index.train(np.ascontiguousarray(documents(0, min(count, TRAINED_ON))))
    for first in range(0, count, DOCUMENTS_AT_ONCE):
        index.add(np.ascontiguousarray(documents(first, min(first + DOCUMENTS_AT_ONCE, count))))


def _set_search(index: Any, config: IndexConfig, depth: int) -> None:
    if config.kind == "hnsw":
        index.hnsw.efSearch = max(config.ef_search, depth)
    elif config.kind == "ivf":
        index.nprobe = min(config.probes, index.nlist)


def _ordered(distances: np.ndarray, positions: np.ndarray, depth: int) -> np.ndarray:
    """Sort positions by distance, ties by position, with NOTHING last; return the first `depth` of each query."""
    missing = positions == NOTHING
    order = np.lexsort((positions, np.where(missing, np.inf, distances)), axis=1)[:, :depth]
    best: np.ndarray = np.take_along_axis(positions, order, axis=1)
    return best


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
