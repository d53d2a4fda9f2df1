"""Snakemake's locks that a killed workflow left, told from those of one that runs.

Snakemake marks the files that a workflow may write in .snakemake/locks, and refuses a second workflow on them. A workflow that
was killed by SIGKILL or a power cut leaves its marks, and Snakemake cannot know whose they are. So each of ours also holds a
shared lock of the operating system, which ends with its process however that ends.
"""

import fcntl
import shutil
from pathlib import Path
from typing import IO

LOCKS = "locks"
HELD = "qatlab.lock"
_held: list[IO[str]] = []  # open as long as the process lives: closing a file gives its lock back


def clear_stale_locks(folder: Path) -> bool:
    """Marks this process as a running workflow; removes Snakemake's locks where no other one runs.

    Args:
        folder: .snakemake of the working directory.

    Returns:
        Whether there were stale locks. Where the file system has no locks nothing is cleared, and Snakemake explains --unlock.
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
