"""Benchmark of the peak memory of the stage `score` on a million documents, for the default grid and a wide one; the bound is 3 GiB.

`python -m qatlab.bench.score_memory FOLDER` scores the task in a folder, which measure_score_memory() has written, and prints
its peak memory in bytes.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from qatlab.artifact import write_json
from qatlab.bench.row import Row
from qatlab.evaluation.task import MANIFEST

DOCUMENTS, DIM, GIB_ALLOWED, AT_ONCE = 1_000_000, 384, 3.0, 1 << 16
METRICS = ["ndcg@10", "recall@100"]
DEFAULT = {"precisions": ["float32", "int8", "binary"]}
# One of each kind of step that allocates memory. More precisions and rotations of the same kinds take more time but not more memory,
# because outputs are scored one after another, and documents are rotated and quantized again for each, in blocks.
WIDE = {
    "precisions": ["float32", "int8", "int4", "binary", "float32_x_binary"],
    "scoring": ["dequantized", "rabitq"],
    "rescoring": ["none", [{"documents": "int8", "oversampling": 10}, "float32"]],
    "rotations": ["none", "itq", {"kind": "overcomplete", "bits": 1024}],
}
GRIDS: dict[str, tuple[Mapping[str, object], int]] = {
    "default": (DEFAULT, 100),
    "wide": (WIDE, 20),
}  # configuration and number of queries


def measure_score_memory(documents: int = DOCUMENTS, grids: tuple[str, ...] = tuple(GRIDS)) -> Iterator[Row]:
    """Measure the peak resident memory, in GiB, of a process that scores random embeddings of unit length."""
    for name in grids:
        config, queries = GRIDS[name]
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(Path(folder), documents, queries, {"metrics": METRICS, **config})
            command = [sys.executable, "-m", "qatlab.bench.score_memory", folder]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        reference = f"{GIB_ALLOWED:g} GiB, {documents:,} × {DIM}, {queries} queries"
        yield Row(f"score_memory_{name}_grid", int(printed.split()[-1]) / 2**30, GIB_ALLOWED, 1.0, "GiB", reference)


def write_inputs(folder: Path, documents: int, queries: int, config: dict[str, object]) -> None:
    """Write a task and its encoding as the stage reads them.

    Documents are written in blocks, so that this process needs little memory.

    Args:
        folder: an empty folder.
        documents: number of documents.
        queries: number of queries.
        config: configuration of the stage.
    """
    import pandas as pd

    from qatlab.evaluation.axes import unit_length
    from qatlab.models.settings import SIMILARITY_FILE

    for name in ("encode", "task", "score"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    shape = (documents, DIM)
    stored = np.lib.format.open_memmap(folder / "encode" / "documents.npy", mode="w+", dtype=np.float32, shape=shape)
    for first in range(0, documents, AT_ONCE):
        block = stored[first : first + AT_ONCE]
        block[:] = unit_length(rng.standard_normal(block.shape, dtype=np.float32))
    near = stored[:queries] + rng.standard_normal((queries, DIM), dtype=np.float32) / DIM**0.5
    np.save(folder / "encode" / "queries.npy", near)
    for name, count in (("documents", documents), ("queries", queries)):
        ids = [f"{name}-{number}" for number in range(count)]
        pd.DataFrame({"id": ids}).to_parquet(folder / "task" / f"{name}.parquet")
    judgements = [(f"queries-{number}", f"documents-{number}", 1) for number in range(queries)]
    table = pd.DataFrame(judgements, columns=["query_id", "doc_id", "relevance"])
    table.to_parquet(folder / "task" / "qrels.parquet")
    write_json(folder / "task" / MANIFEST, {"kind": "retrieval"})
    write_json(folder / "encode" / SIMILARITY_FILE, {"similarity": "cosine"})
    write_json(folder / "config.json", {"label": "of the benchmark", "config": config})


def _score(folder: Path) -> None:
    from qatlab.job import JobDescription
    from qatlab.stages import score

    inputs = {name: folder / name for name in ("encode", "task")}
    score.run(JobDescription.read(folder / "config.json"), inputs, folder / "score", os.cpu_count())


def _peak_bytes() -> int:
    """Return the peak resident memory of this process; on Linux, getrusage would include that of the parent when it forked."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # The unit is bytes on macOS.


if __name__ == "__main__":
    _score(Path(sys.argv[1]))
    sys.stdout.write(f"{_peak_bytes()}\n")
