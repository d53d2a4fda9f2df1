"""Removal of Snakemake's locks that a killed workflow left, as opposed to those of a running one.

Snakemake records the files that a workflow may write in .snakemake/locks, and refuses a second workflow on them. A workflow that
was killed by SIGKILL or a power cut leaves its records, and Snakemake cannot determine whether it is still running. Therefore,
each workflow of qatlab also holds a shared lock of the operating system, which ends with its process in any case.
"""

import fcntl
import shutil
from pathlib import Path
from typing import IO

LOCKS = "locks"
HELD = "qatlab.lock"
_held: list[IO[str]] = []  # open until the process ends: closing a file releases its lock


def clear_stale_locks(folder: Path) -> bool:
    """Mark this process as a running workflow, and remove Snakemake's locks if no other workflow is running.

    Args:
        folder: the folder .snakemake of the working directory.

    Returns:
        Whether there were stale locks. On a file system without locks nothing is removed, and Snakemake's message explains `--unlock`.
    """
    folder.mkdir(exist_ok=True)
    file = (folder / HELD).open("a")
    try:
        alone = _try_lock(file)
        stale = alone and (folder / LOCKS).is_dir() and any((folder / LOCKS).iterdir())
        if stale:
            shutil.rmtree(folder / LOCKS)
            (folder / LOCKS).mkdir()
        fcntl.flock(file, fcntl.LOCK_SH)
    except OSError:
        file.close()
        return False
    _held.append(file)
    return bool(stale)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
