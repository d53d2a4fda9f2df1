"""Search with faiss's graphs (HNSW), inverted lists (IVF) and scalar quantizer, as a deployed index would search.

Graphs and lists are built and searched in one thread, because links and clusters depend on the order in which documents are added.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np

from qatlab.config.evaluate import IndexConfig
from qatlab.evaluation.search import DOCUMENTS_AT_ONCE, NOTHING, SPARE, Block, Timed
from qatlab.evaluation.stopwatch import NOT_TIMED

SCALAR_TYPES = {
    "int8": faiss.ScalarQuantizer.QT_8bit,
    "int4": faiss.ScalarQuantizer.QT_4bit,
    "float16": faiss.ScalarQuantizer.QT_fp16,
}
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
        config: The index, hnsw or ivf.
        watch: Context that times the search, but not the construction of the index.

    Returns:
        (q, min(depth, count)) int64, NOTHING where the index found fewer documents.
    """
    dim = queries.shape[1]
    if config.kind == "hnsw":
        index: Any = faiss.IndexHNSWFlat(dim, config.m, faiss.METRIC_INNER_PRODUCT)
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
    else:
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
