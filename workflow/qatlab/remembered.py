"""Cache in the user's cache folder: checksums and checks of local files, and exported graphs of model architectures.

As Git does for its index, a file that was changed within the last seconds is read again: its time alone would not tell a
change that follows at once. What is remembered is in the user's cache folder, a small file each, and may be deleted.
Very large files are not read by a plan, but by the job that needs them.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from qatlab.artifact import files_below, sha256_of
from qatlab.progress import say

FRESH_SECONDS = 2.0
KEPT = 1000  # largest number of results; the oldest are deleted first
PACKAGE = Path(__file__).resolve().parent
READERS = (
    "models/*.py",
    "sources/*.py",
    "tasks/*.py",
    "text_sets.py",
    "deployments/vectors.py",
)  # modules whose code reads the files


def remembered(question: str, paths: Iterable[Path], compute: Callable[[], Any]) -> Any:
    """Return the result of a computation on files, from the cache if the files have not changed.

    Args:
        question: cache key: what is computed, with all that the result depends on besides the files.
        paths: files, and folders, which stand for all files below them.
        compute: returns a JSON value; if it raises an error, nothing is cached.
    """
    states = [(str(file.resolve()), file.stat()) for path in paths for file in _files(path)]
    seen = [[name, state.st_size, state.st_mtime_ns, state.st_ino] for name, state in states]
    key = hashlib.sha256(json.dumps([question, seen, _readers()]).encode()).hexdigest()
    folder = cache_folder()
    if folder is None:
        return compute()
    cached = folder / "files" / f"{key}.json"
    with suppress(OSError, ValueError):
        result = json.loads(cached.read_text(encoding="utf-8"))
        os.utime(cached)
        return result
    result = compute()
    if all(time.time() - state.st_mtime > FRESH_SECONDS for _, state in states):
        with suppress(OSError):  # The home directory may be read-only.
            _store(cached, result)
    return result


def cache_folder() -> Path | None:
    """Return the user's cache folder; None beside the library alone, whose installation lacks platformdirs."""
    try:
        from platformdirs import user_cache_path
    except ImportError:
        return None
    return user_cache_path("qatlab")


def _files(path: Path) -> list[Path]:
    return files_below(path) if path.is_dir() else [path] if path.exists() else []


@cache
def _readers() -> str:
    """Return a digest of the code that reads files, because another version may refuse a file that this one accepts."""
    digest = hashlib.sha256()
    for file in sorted(file for pattern in READERS for file in PACKAGE.glob(pattern)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _store(path: Path, result: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(result), encoding="utf-8")
    aside.replace(path)
    others = sorted(path.parent.glob("*.json"), key=lambda other: other.stat().st_mtime)
    for other in others[:-KEPT]:
        other.unlink(missing_ok=True)


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
