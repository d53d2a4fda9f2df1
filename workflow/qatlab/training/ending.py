"""Interpretation of signals that arrive after a training already received one to end."""

import signal
import time

APART = 2.0  # smallest number of seconds between two presses of Ctrl-C


def is_repeated_interrupt(number: int, first: float) -> bool:
    """Return whether a signal is a second Ctrl-C, by which a person requests the end without waiting for the step to be saved.

    Any other signal repeats the first one: Slurm signals every process of a job whose time is over, and Snakemake, which is one of
    these processes, signals its own job as well.

    Args:
        number: number of the signal.
        first: time of the first signal, by time.monotonic().
    """
    return number == signal.SIGINT and time.monotonic() - first > APART
