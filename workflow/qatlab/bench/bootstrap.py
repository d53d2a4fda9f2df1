"""Benchmark of the intervals and p-values of a large table of differences, with ten seconds as the reference."""

import statistics
import time
from collections.abc import Iterator

import numpy as np

from qatlab.bench.row import Row

TASKS, METHODS, PRECISIONS, SEEDS, QUERIES = 13, 8, 5, 3, 50
SECONDS_ALLOWED, TIMES = 10.0, 3


def measure_bootstrap(tasks: int = TASKS, queries: int = QUERIES) -> Iterator[Row]:
    """Measure the seconds for the verdicts on METHODS × PRECISIONS differences, each with SEEDS seeds per task.

    Args:
        tasks: number of tasks.
        queries: number of queries per task.
    """
    from qatlab.statistics import verdicts

    rng = np.random.default_rng(0)
    differences = [
        [rng.normal(0.002 * cell, 0.3, size=(SEEDS, queries)) for _ in range(tasks)]
        for cell in range(METHODS * PRECISIONS)
    ]
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        verdicts(differences)
        seconds.append(time.perf_counter() - began)
    size = f"{len(differences)} differences over {tasks} tasks × {queries} queries × {SEEDS} seeds"
    reference = f"the {SECONDS_ALLOWED:g} s allowed for {size}"
    yield Row("bootstrap_time", statistics.median(seconds), SECONDS_ALLOWED, 1.0, "s", reference)
