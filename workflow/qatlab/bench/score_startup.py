"""Benchmark of starting the score stage, which does not import torch, with one second as the reference."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from qatlab.bench.row import Row

SECONDS_ALLOWED, STARTS = 1.0, 9
# The modules that `python -m qatlab score` imports before it reads the first embedding.
CODE = "import sys, qatlab.__main__, qatlab.stages.score; sys.exit('torch' in sys.modules)"


def measure_score_startup(starts: int = STARTS) -> Iterator[Row]:
    """Measure the seconds of a new process that imports the modules of the stage, without the first, which may wait for the disk.

    Raises:
        subprocess.CalledProcessError: if torch is among the imported modules.
    """
    seconds = []
    for _ in range(starts + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", CODE], check=True)
        seconds.append(time.perf_counter() - began)
    yield Row("score_startup", statistics.median(seconds[1:]), SECONDS_ALLOWED, 1.0, "s", "the second allowed")
