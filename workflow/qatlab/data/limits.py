"""How much of local files a plan reads before any job."""

from pathlib import Path

from qatlab.artifact import files_below
from qatlab.progress import say

LARGEST_READ = 1 << 30  # bytes of data files that a plan parses, at some 30 MB a second


def is_read(paths: list[Path], job: str) -> bool:
    """Return whether a plan reads files as a whole; print a line where they are too large for that.

    Args:
        job: the kind of job that reads and checks very large files instead.
    """
    files = [file for path in paths for file in (files_below(path) if path.is_dir() else [path])]
    size = sum(file.stat().st_size for file in files if file.is_file())
    if size > LARGEST_READ:
        say(
            f"{paths[0]}{' …' * (len(paths) > 1)}: {size / 1e9:.1f} GB; its rows are read and checked by the job '{job}', and only its "
            "checksum by the plan"
        )
    return size <= LARGEST_READ
