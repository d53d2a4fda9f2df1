"""Checksums of local files, and checks of their content before any job; very large files are left to their jobs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qatlab.artifact import files_below, sha256_of
from qatlab.progress import say
from qatlab.remembered import remembered

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


def checked(question: str, path: Path, check: Callable[[], Any], job: str | None = "task") -> dict[str, Any]:
    """Return the checksum of a local file or folder that passes a check, and the counts that the check returns in a dictionary.

    Args:
        question: what is checked, with all that the answer depends on besides the files.
        check: raises UserError.
        job: the kind of job that checks very large files instead; None where the plan always does.
    """

    def find_out() -> dict[str, Any]:
        counts = check() if job is None or is_read([path], job) else None
        return {"sha256": sha256_of(path), **(counts if isinstance(counts, dict) else {})}

    answer: dict[str, Any] = remembered(question, [path], find_out)
    return answer


def checked_files(question: str, paths: list[Path], check: Callable[[], Any]) -> dict[str, list[str]]:
    """Return the checksums of several files that pass a check together."""

    def find_out() -> dict[str, list[str]]:
        if is_read(paths, "task"):
            check()
        return {"sha256": [sha256_of(path) for path in paths]}

    answer: dict[str, list[str]] = remembered(question, paths, find_out)
    return answer
