"""The folder in which the processes of a training on one node and their launcher leave what they have to say to one another."""

import os
from pathlib import Path

VARIABLE = "QATLAB_WORKER"  # set in such a process: the folder
TASK, SAID, TOLD = "task.json", "said", "told"  # what to do, lines for the terminal, the signal to end by


def is_worker() -> bool:
    """Whether this process is one of several, whose launcher answers to signals."""
    return VARIABLE in os.environ


def told_to_end() -> int | None:
    """The signal that the launcher was told to end by; None if none, or where there is no launcher."""
    if not is_worker():
        return None
    told = Path(os.environ[VARIABLE]) / TOLD
    return int(told.read_text()) if told.exists() else None


def report_of(rank: int) -> str:
    """The file in which a process leaves what ended it."""
    return f"rank-{rank}.json"
