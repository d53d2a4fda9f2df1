"""What plans found out about local files, remembered by the files' sizes and times, so that the next plan need not read them.

As Git does for its index, a file that was changed within the last seconds is read again: its time alone would not tell a
change that follows at once. What is remembered lies in the user's cache folder, a small file each, and may be deleted.
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
KEPT = 1000  # answers; the oldest go first
PACKAGE = Path(__file__).resolve().parent
READERS = (
    "data/*.py",
    "models/*.py",
    "sources/*.py",
    "tasks/*.py",
    "text_sets/*.py",
)  # modules with what is asked of files


def remembered(question: str, paths: Iterable[Path], find_out: Callable[[], Any]) -> Any:
    """Return `find_out()`, or what it returned when these files were as they are now.

    Args:
        question: what is asked of the files, with all that the answer depends on besides them.
        paths: files, or folders for all files below them.
        find_out: returns what JSON can hold; what it raises is not remembered.
    """
    states = [(str(file.resolve()), file.stat()) for path in paths for file in _files(path)]
    seen = [[name, state.st_size, state.st_mtime_ns, state.st_ino] for name, state in states]
    key = hashlib.sha256(json.dumps([question, seen, _readers()]).encode()).hexdigest()
    kept = user_cache_path("qatlab") / "files" / f"{key}.json"
    with suppress(OSError, ValueError):
        answer = json.loads(kept.read_text(encoding="utf-8"))
        os.utime(kept)
        return answer
    answer = find_out()
    if all(time.time() - state.st_mtime > FRESH_SECONDS for _, state in states):
        with suppress(OSError):  # a home that cannot be written to
            _keep(kept, answer)
    return answer


def _files(path: Path) -> list[Path]:
    return files_below(path) if path.is_dir() else [path] if path.exists() else []


@cache
def _readers() -> str:
    """Of the code that reads files: another version may refuse what this one takes."""
    digest = hashlib.sha256()
    for file in sorted(file for pattern in READERS for file in PACKAGE.glob(pattern)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _keep(path: Path, answer: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(answer), encoding="utf-8")
    aside.replace(path)
    others = sorted(path.parent.glob("*.json"), key=lambda other: other.stat().st_mtime)
    for other in others[:-KEPT]:
        other.unlink(missing_ok=True)
