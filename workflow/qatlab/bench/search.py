"""Exact search of a million documents in int8 and in bits: against faiss in float32, and against sentence-transformers' own.

Ours is `qatlab.evaluation.ranking.rank`, as the stage `score` calls it. Seconds per query are of searches whose documents are
ready: theirs in an index, ours in the form that they are compared in (`rank` says what its watch leaves out). Ours has equal
scores in a defined order, and products computed again in float64, which the references don't. The last rows are whole calls, from
float32 documents to rankings.

Sentence Transformers compares uint8 codes, with each other or with float32 queries; ours the values of int8 codes. Its
rescoring takes the codes that it has searched, ours the float32 documents.
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
from qatlab.evaluation.stopwatch import Stopwatch

DOCUMENTS, QUERIES, DIM, TOP_K, PAIRS = 1_000_000, 100, 384, 10, 3
OVERSAMPLING = 2  # sentence-transformers' default
AT_ONCE = 1 << 16
THEIR_PRECISION = {"int8": "uint8", "binary": "ubinary"}


def measure_search(documents: int = DOCUMENTS, queries: int = QUERIES, pairs: int = PAIRS) -> Iterator[Row]:
    """Seconds per query, for as many queries at once."""
    sides = embeddings(documents, queries)
    size = f"{documents:,} × {DIM}, {queries} queries"
    yield from _against_float32(*sides, pairs, size)
    for precision in THEIR_PRECISION:
        yield from _against_sentence_transformers(*sides, precision, pairs, size)


def embeddings(documents: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and documents of unit length, (n, DIM) float32: random documents, and queries near some of them."""
    rng = np.random.default_rng(0)
    stored = np.empty((documents, DIM), dtype=np.float32)
    for first in range(0, documents, AT_ONCE):
        block = stored[first : first + AT_ONCE]
        block[:] = unit_length(rng.standard_normal(block.shape, dtype=np.float32))
    near = stored[rng.choice(documents, queries, replace=False)]
    return unit_length(near + rng.standard_normal(near.shape, dtype=np.float32) / DIM**0.5), stored


def our_search(queries: np.ndarray, documents: np.ndarray, precision: str, rescoring: bool) -> Callable[[], float]:
    """What ranks the documents at an output, and returns the seconds that queries cost."""
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
    """Sentence Transformers' search of an index that is there, which takes `rescore`; and one that makes the index first."""
    from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss

    theirs, ranges = THEIR_PRECISION[precision], np.stack([documents.min(axis=0), documents.max(axis=0)])
    options: dict[str, Any] = {"corpus_precision": theirs, "ranges": ranges, "top_k": TOP_K}
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
    what = f"semantic_search_faiss at {THEIR_PRECISION[precision]}"
    for rescoring, name in ((False, "rescore=False"), (True, f"rescoring {OVERSAMPLING * TOP_K}")):
        ours = our_search(queries, documents, precision, rescoring)
        seconds = medians(ours, partial(_timed, partial(theirs, rescore=rescoring)), pairs)
        suffix = "_rescored" if rescoring else ""
        yield _row(f"search_{precision}{suffix}", seconds, len(queries), f"{what}, {name}, {size}")
    seconds = in_turns(our_search(queries, documents, precision, rescoring=False), from_documents, pairs)
    what = f"quantize_embeddings and {what}, rescore=False, {size}"
    yield _row(f"search_{precision}_with_indexing", seconds, len(queries), what)


def _timed(call: Callable[[], Any]) -> float:
    watch = Stopwatch()
    with watch:
        call()
    return watch.seconds


def _row(name: str, seconds: tuple[float, float], queries: int, what: str) -> Row:
    return Row(name, seconds[0] / queries, seconds[1] / queries, None, "s", what)
