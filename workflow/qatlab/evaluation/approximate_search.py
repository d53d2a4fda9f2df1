"""Search with faiss's graphs (HNSW), inverted lists (IVF) and scalar quantizer: what a shipped index would find.

They are built and followed in one thread: links and clusters depend on the order in which documents come.
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
TRAINED_ON = 1 << 16  # documents at most that clusters and scales are fitted on


def best_near_values(
    queries: np.ndarray, documents: Block, count: int, depth: int, config: IndexConfig, watch: Timed = NOT_TIMED
) -> np.ndarray:
    """Positions of documents with large inner products, best first; equal ones in the order of documents.

    Args:
        queries: (q, dim) float32.
        documents: gives those from a first to before a last position, (n, dim) float32.
        count: how many documents there are.
        depth: how many are wanted.
        config: hnsw or ivf.
        watch: times what queries cost.

    Returns:
        (q, min(depth, count)) int64, NOTHING where fewer were found.
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
            scores, at = index.search(queries, min(depth + SPARE, count))
            return _ordered(-scores, at, min(depth, count))


def best_near_bits(
    queries: np.ndarray, documents: np.ndarray, depth: int, config: IndexConfig, watch: Timed = NOT_TIMED
) -> np.ndarray:
    """The same of packed bits, (q, bytes) and (d, bytes) uint8, by Hamming distance."""
    bits, count = documents.shape[1] * 8, len(documents)
    if config.kind == "hnsw":
        index: Any = faiss.IndexBinaryHNSW(bits, config.m)
    else:
        index = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(bits), bits, _lists(config, count))
    with _one_thread():
        _fill(index, lambda first, last: documents[first:last], count, config)
        _set_search(index, config, depth)
        with watch:
            distances, at = index.search(np.ascontiguousarray(queries), min(depth + SPARE, count))
            return _ordered(distances, at, min(depth, count))


def best_by_scalar_quantizer(
    queries: np.ndarray, documents: Block, count: int, depth: int, precision: str, watch: Timed = NOT_TIMED
) -> np.ndarray:
    """The same of documents that faiss's scalar quantizer stores: int8 and int4 over each dimension's extremes, or float16."""
    index = faiss.IndexScalarQuantizer(queries.shape[1], SCALAR_TYPES[precision], faiss.METRIC_INNER_PRODUCT)
    _fill(index, documents, count, None)
    with watch:
        scores, at = index.search(queries, min(depth + SPARE, count))
        return _ordered(-scores, at, min(depth, count))


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


def _ordered(distances: np.ndarray, at: np.ndarray, depth: int) -> np.ndarray:
    """Nearest first, equal ones in the order of documents, and last what was not found."""
    missing = at == NOTHING
    order = np.lexsort((at, np.where(missing, np.inf, distances)), axis=1)[:, :depth]
    best: np.ndarray = np.take_along_axis(at, order, axis=1)
    return best


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
