"""Process that builds an index of a vector search engine, or searches one, and measures time and memory.

Each build and each search has a process of its own, so that memory is that of one index. The process reads a request from a JSON file and
writes its results beside it; `python -m qatlab.evaluation.engine_process REQUEST` runs it.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from qatlab.artifact import files_below, load_array, read_json, write_json
from qatlab.engines.engine import ENGINES, Engine, Mode, Opened, open_index, write_index
from qatlab.errors import UserError, full

ROWS_AT_ONCE = 1 << 13
NOTHING = -1  # id of a rank without a document, as in `qatlab.evaluation.search`, whose import of faiss would take memory and a second
SAMPLED_EVERY = 0.02  # seconds between two measurements of the memory of an engine's own processes
WARMING_UP = 10  # queries before the first that is timed
LONGEST = 5.0  # seconds of a timed pass with several threads, whose results are known already
RESULT, IDS = "result.json", "ids.npy"
# Options of Linux's prctl.
DEATH_SIGNAL, SUBREAPER = 1, 36


@dataclass
class StoredVectors:
    """Documents in .npy files, which are read in blocks, so that an engine's memory is not mixed with theirs.

    Attributes:
        stored: File of what the engine receives.
        embeddings: File of the float32 embeddings.
        count: Number of documents.
        dim: Number of dimensions.
        similarity: Similarity of the embeddings.
    """

    stored: Path
    embeddings: Path
    count: int
    dim: int
    similarity: Literal["cosine", "dot"]

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield what the engine receives, (n, …) each, in the order of documents."""
        yield from _blocks(self.stored)

    def floats(self) -> Iterator[np.ndarray]:
        """Yield the float32 embeddings, (n, dim) each."""
        yield from _blocks(self.embeddings)


def _blocks(path: Path) -> Iterator[np.ndarray]:
    with path.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        (count, width), _, dtype = read(stream)
        for first in range(0, count, ROWS_AT_ONCE):
            rows = min(ROWS_AT_ONCE, count - first)
            yield np.fromfile(stream, dtype, rows * width).reshape(rows, width)


def request(action: Literal["build", "search"], values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run one request in a process of its own, and return its results.

    Args:
        action: What the process does.
        values: Arguments of `build_index` or `search_index`, as JSON values; paths are absolute.
        folder: Empty folder of the request, in which the process runs, so that it finds no settings of the user.

    Raises:
        UserError: The process's own, or one that says by which signal it was ended.
    """
    folder.mkdir()
    write_json(folder / "request.json", {"action": action, "values": values})
    package = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(dict.fromkeys([package, *map(os.path.abspath, filter(None, sys.path))]))
    name = f"{values['engine']['engine']} {values['mode']}"
    with (folder / "output").open("wb") as output:
        ended = subprocess.run(
            [sys.executable, "-m", __name__, "request.json"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    results: dict[str, Any] = read_json(folder / RESULT) if (folder / RESULT).is_file() else {}
    if "error" in results:
        raise UserError(f"{name}: {results['error']}")
    if ended.returncode < 0:
        reason = signal.Signals(-ended.returncode).name
        raise UserError(f"{name}: its process was ended by {reason} (out of memory?); free memory, and run it again")
    if ended.returncode or not results:
        last = (folder / "output").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise UserError(f"{name} failed: {''.join(last)[:300] or f'exit code {ended.returncode}'}; leave the mode out")
    return results


def build_index(
    engine: Engine, mode: Mode, vectors: StoredVectors, folder: Path, threads: int
) -> dict[str, float | None]:
    """Build an index, and return `build_seconds` and `build_peak_bytes`, the peak memory of the engine during the build.

    Args:
        engine: The engine.
        mode: One of its modes.
        vectors: The documents.
        folder: The index folder to write.
        threads: Number of CPU threads.

    Raises:
        UserError: If the disk is full or the engine refuses.
    """
    engine.version()  # imports most engines, whose code is not counted
    with Peak() as peak:
        begin = time.perf_counter()
        write_index(engine, mode, vectors, folder, threads)
        seconds = time.perf_counter() - begin
    return {"build_seconds": seconds, "build_peak_bytes": peak.added, "disk_bytes": allocated_bytes(folder)}


def search_index(
    engine: Engine,
    mode: Mode,
    folder: Path,
    queries: np.ndarray,
    floats: np.ndarray | None,
    k: int,
    threads: Sequence[int],
) -> tuple[dict[str, Any], np.ndarray]:
    """Search an index with all queries, one at a time, and measure.

    Args:
        engine: The engine.
        mode: The mode of the index.
        folder: The index folder.
        queries: (q, …), queries in the format of the stored documents.
        floats: (q, dim) float32, queries for rescoring codes of qatlab; None without it.
        k: Number of documents per query.
        threads: Numbers of threads that search at once. The first is 1, whose results are returned; passes with more threads search
            as many queries as take about LONGEST seconds.

    Returns:
        `version`, `parameters`, `open_seconds`, `memory_bytes` (resident memory that opening and searching added; None where the
        operating system does not tell) and `timings`, one per number of threads; and the ids of the best documents, (q, k) int64,
        NOTHING where the index found fewer.
    """
    ids = np.full((len(queries), k), NOTHING, dtype=np.int64)
    results: dict[str, Any] = {"version": engine.version(), "timings": []}
    before, rate = resident_bytes(), 0.0
    for count in threads:
        begin = time.perf_counter()
        with open_index(engine, mode, folder, count) as opened:
            results.setdefault("open_seconds", time.perf_counter() - begin)
            rows = range(len(queries) if not rate else max(1, min(len(queries), round(rate * LONGEST))))
            for row in rows[:WARMING_UP]:
                opened.search(queries[row], k, None if floats is None else floats[row])
            timing = _timed(opened, queries, floats, rows, k, count, ids)
            rate = timing["queries_per_second"]
            results["timings"].append(timing)
            if "memory_bytes" not in results:
                after = resident_bytes()
                results["memory_bytes"] = None if before is None or after is None else max(0, after - before)
                results["parameters"] = dict(opened.parameters())
    return results, ids


def _timed(
    opened: Opened,
    queries: np.ndarray,
    floats: np.ndarray | None,
    rows: range,
    k: int,
    threads: int,
    ids: np.ndarray,
) -> dict[str, Any]:
    """Search, and return the queries per second and the latencies; write the results of a single thread to `ids`."""

    def timed(row: int) -> float:
        begin = time.perf_counter()
        best = opened.search(queries[row], k, None if floats is None else floats[row])
        seconds = time.perf_counter() - begin
        if threads == 1:
            ids[row, : len(best)] = best[:k]
        return seconds

    begin = time.perf_counter()
    if threads == 1:
        latencies = [timed(row) for row in rows]
    else:
        with ThreadPoolExecutor(threads) as pool:
            latencies = list(pool.map(timed, rows))
    seconds = time.perf_counter() - begin
    median, late = np.percentile(latencies, [50, 95]) * 1000
    return {
        "threads": threads,
        "queries_per_second": len(rows) / seconds,
        "p50_ms": float(median),
        "p95_ms": float(late),
    }


def allocated_bytes(folder: Path) -> int:
    """Return the bytes that the files below a folder take on the disk, which of sparse files are fewer than their size."""
    stats = [file.stat() for file in files_below(folder)]
    return sum(getattr(stat, "st_blocks", -(-stat.st_size // 512)) * 512 for stat in stats)


# Memory. An engine may start processes of its own, such as a database server, whose memory counts too.


def resident_bytes() -> int | None:
    """Return the resident memory of this process and of those that it started, with a share of shared pages; None without /proc."""
    try:
        return sum(_pss(process) for process in (os.getpid(), *descendants()))
    except OSError:
        return None


class Peak:
    """Context manager that measures the peak of the memory that its block adds.

    Attributes:
        added: Peak in bytes above the memory at the start, after the block; None without /proc.
    """

    def __init__(self) -> None:
        self.added: int | None = None
        self._others = 0
        self._ended = threading.Event()

    def __enter__(self) -> "Peak":
        self._before = resident_bytes()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this block, not of earlier imports
        self._start = _of_status("VmRSS")
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sampler.join()
        peak = _of_status("VmHWM")
        if self._before is not None and peak is not None and self._start is not None:
            self.added = max(0, peak - self._start) + self._others

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLED_EVERY):
            with suppress(OSError):
                self._others = max(self._others, sum(map(_pss, descendants())))


def _of_status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def _pss(process: int) -> int:
    """Return the resident bytes of a process, in which a page that n processes share counts 1 / n; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        if process == os.getpid():
            raise
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def descendants() -> list[int]:
    """Return the ids of all processes that this one started, directly or through others."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    family = {os.getpid()}
    while True:
        children = {child for child, parent in parents.items() if parent in family} - family
        if not children:
            return sorted(family - {os.getpid()})
        family |= children


def _tie_to_parent() -> None:
    """End this process when its parent ends, and adopt what an engine starts in the background, so that its memory is counted."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
        prctl(SUBREAPER, 1, 0, 0, 0)


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)  # so that `with` blocks end what they started


def main(arguments: list[str]) -> int:
    """Run the request in a file, and write its results beside it; return the exit code."""
    signal.signal(signal.SIGTERM, _end)
    _tie_to_parent()
    given = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    values, results = given["values"], dict[str, Any]()
    engine: Engine = ENGINES.read(values["engine"])
    mode, folder = engine.all_modes()[values["mode"]], Path(values["folder"])
    try:
        if given["action"] == "build":
            stored = values["vectors"]
            paths = {name: Path(stored[name]) for name in ("stored", "embeddings")}
            results |= build_index(engine, mode, StoredVectors(**stored | paths), folder, values["threads"])
        else:
            queries, floats = load_array(Path(values["queries"])), values["floats"]
            rescored = None if floats is None else load_array(Path(floats))
            results, ids = search_index(engine, mode, folder, queries, rescored, values["k"], values["threads"])
            np.save(IDS, ids)
    except Exception as error:
        line = error if isinstance(error, UserError) else full(error, folder)
        if line is None:
            raise
        results = {"error": str(line)}
    write_json(Path(RESULT), results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
