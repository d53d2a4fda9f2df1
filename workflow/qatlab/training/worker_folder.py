"""Folder through which the processes of a distributed training on one node and their launcher communicate."""

import os
from pathlib import Path

VARIABLE = "QATLAB_WORKER"  # environment variable of such a process, which holds the folder
TASK, MESSAGES, SIGNAL = "task.json", "messages", "signal"  # the job, lines for the terminal, the received signal


def is_worker() -> bool:
    """Return whether this process belongs to a distributed training, whose launcher handles signals."""
    return VARIABLE in os.environ


def requested_signal() -> int | None:
    """Return the number of the signal that the launcher received, or None if there is no signal or no launcher."""
    if not is_worker():
        return None
    file = Path(os.environ[VARIABLE]) / SIGNAL
    return int(file.read_text()) if file.exists() else None


def report_of(rank: int) -> str:
    """Return the name of the file in which a process reports the error that ended it."""
    return f"rank-{rank}.json"
