"""What a training makes of signals that follow the one it was told to end by."""

import signal
import time

APART = 2.0  # seconds


def insists(number: int, first: float) -> bool:
    """Whether a person presses Ctrl-C once more, and won't wait for the step to be saved.

    All else that follows is the same ending told by another: Slurm signals every process of a job whose time is over, and
    Snakemake, which is one of them, its own job as well.

    Args:
        number: of the signal.
        first: when the first one came, by time.monotonic().
    """
    return number == signal.SIGINT and time.monotonic() - first > APART
