"""Benchmark of exact search in a million int8 and binary documents, with faiss in float32 and sentence-transformers as references.

It calls `qatlab.evaluation.ranking.rank` as the stage `score` does. Seconds per query exclude the preparation of documents: the
references search an existing index, and `rank` measures only the comparison (its docstring says what is excluded). Unlike the
references, `rank` orders equal scores deterministically and computes the best products again in float64. The last rows measure whole
calls, from float32 documents to rankings.

Sentence Transformers compares uint8 codes with each other or with float32 queries; `rank` compares the values of int8 codes. The
former rescores with the codes that it has searched, the latter with float32 documents.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import faiss
import numpy as np

from qatlab.bench.row import Row, in_turns, medians
from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.axes import OnAxes, unit_length
from qatlab.evaluation.outputs import outputs
from qatlab.evaluation.ranking import SideRanges, rank, side_ranges
from qatlab.evaluation.search import Stopwatch

DOCUMENTS, QUERIES, DIM, TOP_K, PAIRS = 1_000_000, 100, 384, 10, 3
OVERSAMPLING = 2  # sentence-transformers' default
AT_ONCE = 1 << 16
THEIR_PRECISION = {"int8": "uint8", "binary": "ubinary"}


def measure_search(documents: int = DOCUMENTS, queries: int = QUERIES, pairs: int = PAIRS) -> Iterator[Row]:
    """Measure the seconds per query of searches for all queries at once.

    Args:
        documents: number of documents.
        queries: number of queries.
        pairs: number of measurements, of which the median is taken.
    """
    sides = embeddings(documents, queries)
    size = f"{documents:,} × {DIM}, {queries} queries"
    yield from _against_float32(*sides, pairs, size)
    for precision in THEIR_PRECISION:
        yield from _against_sentence_transformers(*sides, precision, pairs, size)


def embeddings(documents: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Return queries and documents of unit length, (n, DIM) float32 each: random documents, and queries near some of them."""
    rng = np.random.default_rng(0)
    stored = np.empty((documents, DIM), dtype=np.float32)
    for first in range(0, documents, AT_ONCE):
        block = stored[first : first + AT_ONCE]
        block[:] = unit_length(rng.standard_normal(block.shape, dtype=np.float32))
    near = stored[rng.choice(documents, queries, replace=False)]
    return unit_length(near + rng.standard_normal(near.shape, dtype=np.float32) / DIM**0.5), stored


def our_search(queries: np.ndarray, documents: np.ndarray, precision: str, rescoring: bool) -> Callable[[], float]:
    """Return a function that ranks the documents and returns the measured seconds.

    Args:
        queries: embeddings, (queries, DIM) float32.
        documents: embeddings, (documents, DIM) float32.
        precision: precision of both.
        rescoring: whether the best documents are rescored in float32.
    """
    step = {"documents": "float32", "oversampling": OVERSAMPLING, "top_k": TOP_K}
    config = EvaluateConfig.model_validate(
        {"metrics": ["ndcg@10"], "precisions": [precision], "rescoring": [[step]] if rescoring else ["none"]}
    )
    (output,) = outputs(config)
    sides = (OnAxes(queries), OnAxes(documents))
    ranges = side_ranges([output], *sides, config, {}).get(output.ranges, SideRanges())

    def search() -> float:
        watch = Stopwatch()
        rank(*sides, output, ranges, TOP_K, watch=watch)
        return watch.seconds

    return search


def their_search(
    queries: np.ndarray, documents: np.ndarray, precision: str
) -> tuple[Callable[..., Any], Callable[[], Any]]:
    """Return two searches of Sentence Transformers: one of an existing index, with an argument `rescore`, and one that builds it.

    Args:
        queries: embeddings, (queries, DIM) float32.
        documents: embeddings, (documents, DIM) float32.
        precision: int8 or binary.
    """
    from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss

    theirs, ranges = THEIR_PRECISION[precision], np.stack([documents.min(axis=0), documents.max(axis=0)])
    options: dict[str, object] = {"corpus_precision": theirs, "ranges": ranges, "top_k": TOP_K}
    options["rescore_multiplier"] = OVERSAMPLING

    def from_documents(output_index: bool = False) -> Any:
        codes = quantize_embeddings(documents, theirs, ranges)
        return semantic_search_faiss(queries, codes, rescore=False, output_index=output_index, **options)

    index = from_documents(output_index=True)[2]
    return partial(semantic_search_faiss, queries, corpus_index=index, **options), from_documents


def _against_float32(queries: np.ndarray, documents: np.ndarray, pairs: int, size: str) -> Iterator[Row]:
    index = faiss.IndexFlatIP(DIM)
    index.add(documents)
    theirs = partial(_timed, partial(index.search, queries, TOP_K))
    for precision in ("float32", *THEIR_PRECISION):
        seconds = medians(our_search(queries, documents, precision, rescoring=False), theirs, pairs)
        yield _row(f"search_{precision}_over_float32", seconds, len(queries), f"faiss.IndexFlatIP in float32, {size}")


def _against_sentence_transformers(
    queries: np.ndarray, documents: np.ndarray, precision: str, pairs: int, size: str
) -> Iterator[Row]:
    theirs, from_documents = their_search(queries, documents, precision)
    reference = f"semantic_search_faiss at {THEIR_PRECISION[precision]}"
    for rescoring, name in ((False, "rescore=False"), (True, f"rescoring {OVERSAMPLING * TOP_K}")):
        ours = our_search(queries, documents, precision, rescoring)
        seconds = medians(ours, partial(_timed, partial(theirs, rescore=rescoring)), pairs)
        suffix = "_rescored" if rescoring else ""
        yield _row(f"search_{precision}{suffix}", seconds, len(queries), f"{reference}, {name}, {size}")
    seconds = in_turns(our_search(queries, documents, precision, rescoring=False), from_documents, pairs)
    reference = f"quantize_embeddings and {reference}, rescore=False, {size}"
    yield _row(f"search_{precision}_with_indexing", seconds, len(queries), reference)


def _timed(call: Callable[[], Any]) -> float:
    watch = Stopwatch()
    with watch:
        call()
    return watch.seconds


def _row(name: str, seconds: tuple[float, float], queries: int, reference: str) -> Row:
    return Row(name, seconds[0] / queries, seconds[1] / queries, None, "s", reference)
