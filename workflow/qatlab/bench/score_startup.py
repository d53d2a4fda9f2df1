"""Starting the score stage, which needs no torch, against a second."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from qatlab.bench.row import Row

SECONDS_ALLOWED, STARTS = 1.0, 9
# What `python -m qatlab score` imports before it reads the first embedding.
CODE = "import sys, qatlab.__main__, qatlab.stages.score; sys.exit('torch' in sys.modules)"


def measure_score_startup(starts: int = STARTS) -> Iterator[Row]:
    """Seconds of a new process that imports what the stage's command does; the first, which may wait for a disk, is not counted.

    Raises:
        subprocess.CalledProcessError: where torch is among what it imports.
    """
    seconds = []
    for _ in range(starts + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", CODE], check=True)
        seconds.append(time.perf_counter() - began)
    yield Row("score_startup", statistics.median(seconds[1:]), SECONDS_ALLOWED, 1.0, "s", "the second allowed")
