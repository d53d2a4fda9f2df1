"""Cache of computations on local files, keyed by the sizes and times of the files, so that the next plan need not read them.

As in Git's index, a file that was changed within the last seconds is read again, because its time would not distinguish an immediate
further change. Each result is a small file in the user's cache folder, which may be deleted.
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

from platformdirs import user_cache_path

from qatlab.artifact import files_below

FRESH_SECONDS = 2.0
KEPT = 1000  # largest number of results; the oldest are deleted first
PACKAGE = Path(__file__).resolve().parent
READERS = (
    "data/*.py",
    "models/*.py",
    "sources/*.py",
    "tasks/*.py",
    "text_sets/*.py",
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
    cached = user_cache_path("qatlab") / "files" / f"{key}.json"
    with suppress(OSError, ValueError):
        result = json.loads(cached.read_text(encoding="utf-8"))
        os.utime(cached)
        return result
    result = compute()
    if all(time.time() - state.st_mtime > FRESH_SECONDS for _, state in states):
        with suppress(OSError):  # The home directory may be read-only.
            _store(cached, result)
    return result


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
