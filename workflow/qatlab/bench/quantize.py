"""Benchmark of `quantize_embeddings` on a million embeddings, with the function of sentence-transformers as the reference."""

import logging
import tracemalloc
from collections.abc import Iterator
from functools import partial

import numpy as np

from qatlab.bench.row import Row, in_turns
from qatlab.quantization import MinMaxRange, quantize_embeddings

ROWS, DIM, PAIRS = 1_000_000, 384, 9
ROOM = 256 * 2**20  # bytes that quantization may allocate in addition to its result


def measure_quantize(rows: int = ROWS, pairs: int = PAIRS) -> Iterator[Row]:
    """Measure the time and peak memory of int8 and packed binary codes of embeddings (rows, 384) float32."""
    from sentence_transformers.util import quantize_embeddings as reference

    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    embeddings = np.random.default_rng(0).standard_normal((rows, DIM), dtype=np.float32)
    ranges = MinMaxRange().fit(embeddings)
    array = np.vstack([ranges.low, ranges.high])
    for precision in ("int8", "binary"):
        ours, theirs = in_turns(
            partial(quantize_embeddings, embeddings, precision, ranges),
            partial(reference, embeddings, precision=precision, ranges=array),
            pairs,
        )
        reference_is = f"sentence-transformers' quantize_embeddings, {rows:,} × {DIM}"
        yield Row(f"quantize_{precision}_time", ours, theirs, 1.0, "s", reference_is)
        tracemalloc.start()
        codes = quantize_embeddings(embeddings, precision, ranges)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        reference_is = f"the codes ({codes.nbytes / 2**20:.0f} MiB) and 256 MiB"
        yield Row(f"quantize_{precision}_memory", peak / 2**20, (codes.nbytes + ROOM) / 2**20, 1.0, "MiB", reference_is)
