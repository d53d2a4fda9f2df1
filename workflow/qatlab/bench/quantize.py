"""`quantize_embeddings` of a million embeddings, against sentence-transformers' own."""

import logging
import tracemalloc
from collections.abc import Iterator
from functools import partial

import numpy as np

from qatlab.bench.row import Row, in_turns
from qatlab.quantization import MinMaxRange, quantize_embeddings

ROWS, DIM, PAIRS = 1_000_000, 384, 9
ROOM = 256 * 2**20  # bytes that quantizing may take beyond its result


def measure_quantize(rows: int = ROWS, pairs: int = PAIRS) -> Iterator[Row]:
    """Time and peak memory of int8 and packed binary codes of (rows, 384) float32."""
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
        what = f"sentence-transformers' quantize_embeddings, {rows:,} × {DIM}"
        yield Row(f"quantize_{precision}_time", ours, theirs, 1.0, "s", what)
        tracemalloc.start()
        codes = quantize_embeddings(embeddings, precision, ranges)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        what = f"the codes ({codes.nbytes / 2**20:.0f} MiB) and 256 MiB"
        yield Row(f"quantize_{precision}_memory", peak / 2**20, (codes.nbytes + ROOM) / 2**20, 1.0, "MiB", what)
