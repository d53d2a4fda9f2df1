"""Checksums of local files and checks of their content before any job starts; very large files are checked by their jobs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qatlab.artifact import files_below, sha256_of
from qatlab.progress import say
from qatlab.remembered import remembered

LARGEST_READ = 1 << 30  # bytes of data files that a plan parses, at about 30 MB per second


def is_read(paths: list[Path], job: str) -> bool:
    """Return whether the plan reads the content of files; log a line if they are too large for that.

    Args:
        paths: files and folders, whose sizes are added.
        job: the kind of job that reads and checks very large files instead.
    """
    files = [file for path in paths for file in (files_below(path) if path.is_dir() else [path])]
    size = sum(file.stat().st_size for file in files if file.is_file())
    if size > LARGEST_READ:
        say(
            f"{paths[0]}{' …' * (len(paths) > 1)}: {size / 1e9:.1f} GB; the job '{job}' reads and checks its rows, and the plan "
            "computes only its checksum"
        )
    return size <= LARGEST_READ


def checked(question: str, path: Path, check: Callable[[], Any], job: str | None = "task") -> dict[str, object]:
    """Check a local file or folder and return its checksum, cached until the file changes.

    Args:
        question: cache key: what is checked, with all that the result depends on besides the files.
        path: the file or folder.
        check: raises a UserError for invalid content; entries of a dictionary that it returns are added to the result.
        job: the kind of job that checks very large files instead; None if the plan checks files of any size.

    Returns:
        A dictionary with `sha256` and the entries that `check` returned.
    """

    def compute() -> dict[str, object]:
        counts = check() if job is None or is_read([path], job) else None
        return {"sha256": sha256_of(path), **(counts if isinstance(counts, dict) else {})}

    result: dict[str, object] = remembered(question, [path], compute)
    return result


def checked_files(question: str, paths: list[Path], check: Callable[[], Any]) -> dict[str, list[str]]:
    """Check several files together and return their checksums, cached until a file changes.

    Args:
        question: cache key: what is checked, with all that the result depends on besides the files.
        paths: the files.
        check: raises a UserError for invalid content.

    Returns:
        A dictionary with `sha256`, the list of checksums in the order of the paths.
    """

    def compute() -> dict[str, list[str]]:
        if is_read(paths, "task"):
            check()
        return {"sha256": [sha256_of(path) for path in paths]}

    result: dict[str, list[str]] = remembered(question, paths, compute)
    return result
