"""Scores and costs of one vector search engine on one task, beside exact searches of the same codes."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qatlab import ranked
from qatlab.artifact import load_array
from qatlab.config.evaluate import EvaluateConfig, metric_and_cutoff
from qatlab.engines.engine import OVERLAP, Engine, Mode, Reference
from qatlab.evaluation.axes import OnAxes
from qatlab.evaluation.engine_process import IDS, request
from qatlab.evaluation.outputs import standard_error
from qatlab.evaluation.search import NOTHING, best_by_hamming, best_by_product, products
from qatlab.evaluation.task import Task
from qatlab.evaluation.task_metrics import ranking_metrics, without_itself
from qatlab.quantization.grids import dequantize_embeddings, quantize_embeddings, queries_for_codes
from qatlab.quantization.ranges import Range

BEST = 10
THREADS = (1, 2)  # threads that search at once
ROUNDING = 1e-5  # bound of the rounding error of float32 products, relative to the largest of a query
AT_ONCE = 1 << 14  # documents that are read at once


class Measured(NamedTuple):
    """Scores and costs of an engine.

    Attributes:
        columns: Arrays with one value per query: `query_id`, `<mode>/<metric>` and, of qatlab's exact searches, `exact/<name>/<metric>`.
        modes: One row per mode, with its scores, bytes and parameters.
        timings: One row per mode and number of threads.
    """

    columns: dict[str, list[str] | np.ndarray]
    modes: list[dict[str, Any]]
    timings: list[dict[str, Any]]


@dataclass(frozen=True)
class Sides:
    """Queries and documents of a task in the formats that engines store, in .npy files of a folder."""

    folder: Path
    count: int
    dim: int
    similarity: str

    @staticmethod
    def write(folder: Path, queries: OnAxes, documents: OnAxes, ranges: Range) -> "Sides":
        """Write float32 embeddings, int8 codes and packed bits of both sides.

        Args:
            folder: The folder to write.
            queries: Query embeddings on the model's own axes.
            documents: Document embeddings on the same axes.
            ranges: Range of the int8 grid.
        """
        folder.mkdir()
        convert: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "float32": lambda block: np.asarray(block, dtype=np.float32),
            "int8": lambda block: np.asarray(quantize_embeddings(block, "int8", ranges)),
            "bits": lambda block: np.packbits(block > 0, axis=1),
        }
        for name, function in convert.items():
            np.save(folder / f"documents-{name}.npy", np.concatenate([function(block) for block in documents.blocks()]))
        rows = queries[:]
        np.save(folder / "queries-float32.npy", convert["float32"](rows))
        np.save(folder / "queries-int8.npy", queries_for_codes(rows, ranges))
        np.save(folder / "queries-bits.npy", convert["bits"](rows))
        return Sides(folder, len(documents), documents.dim, "cosine" if documents.unit else "dot")

    def file(self, side: str, stored: str) -> Path:
        """Return the file of a side (queries or documents) in a format (float32, int8 or bits)."""
        return self.folder / f"{side}-{stored}.npy"

    def array(self, side: str, stored: str) -> np.ndarray:
        """Return the array of a side in a format."""
        return load_array(self.file(side, stored))


def exact_searches(sides: Sides, ranges: Range, depth: int) -> dict[Reference, np.ndarray]:
    """Return the positions of the best documents of each query in qatlab's exact searches, (q, depth) int64 by name."""
    decoded = dequantize_embeddings(sides.array("documents", "int8"), "int8", ranges)
    queries = sides.array("queries", "float32")
    return {
        "float32": _by_product(queries, sides.array("documents", "float32"), depth),
        "int8": _by_product(sides.array("queries", "int8"), sides.array("documents", "int8"), depth),
        "float32_x_int8": _by_product(queries, decoded, depth),
        "bits": best_by_hamming(sides.array("queries", "bits"), sides.array("documents", "bits"), depth),
    }


def _by_product(queries: np.ndarray, documents: np.ndarray, depth: int) -> np.ndarray:
    def block(first: int, last: int) -> np.ndarray:
        return documents[first:last].astype(np.float32)

    return best_by_product(queries.astype(np.float32), block, len(documents), depth)


def same_scores(sides: Sides, mode: Mode, ids: np.ndarray, exact: np.ndarray) -> float | None:
    """Return the share of queries whose 10 best documents have the scores of the 10 best of the exact search of the same codes.

    Documents of equal scores may be in any order. Scores of integers are equal, those of floats up to ROUNDING.

    Args:
        sides: What the engine stores.
        mode: The mode.
        ids: (q, k) int64, best documents of the engine.
        exact: (q, k) int64, best documents of the exact search of the mode's reference.

    Returns:
        The share; None for a mode that is not exact, or whose codes the engine makes.
    """
    if mode.index != "exact" or mode.rescoring != "none" or (mode.quantizer != "qatlab" and mode.stored != "float32"):
        return None
    stored = mode.received
    queries, documents = sides.array("queries", stored), sides.array("documents", stored)
    best, right = (_scores(stored, queries, documents, side[:, :BEST]) for side in (ids, exact))
    slack = ROUNDING * np.abs(right).max(axis=1, keepdims=True) if stored == "float32" else 0
    return float(((np.abs(best - right) <= slack).all(axis=1)).mean())


def _scores(stored: str, queries: np.ndarray, documents: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the scores of the documents of each query, (q, k) float64, −inf where there is none."""
    chosen = documents[np.where(ids == NOTHING, 0, ids)]
    if stored == "bits":
        scores = -np.unpackbits(chosen ^ queries[:, None], axis=2).sum(axis=2, dtype=np.float64)
    else:
        scores = products(queries, chosen)
    return np.where(ids == NOTHING, -np.inf, scores)


def measure(
    engine: Engine, task: Task, sides: Sides, ranges: Range, config: EvaluateConfig, threads: int, work: Path
) -> Measured:
    """Build and search every mode of an engine, each in processes of its own.

    Args:
        engine: The engine with its modes.
        task: The relevant documents of each query.
        sides: Queries and documents.
        ranges: Range of the int8 grid.
        config: The metrics.
        threads: Number of CPU threads of a build, and the largest number of threads that search at once.
        work: Folder for indexes, which are removed when they have been searched.

    Raises:
        UserError: If the engine refuses, or its process is killed.
    """
    work.mkdir()
    depth = min(sides.count, max(BEST, *(metric_and_cutoff(metric)[1] for metric in config.metrics)) + _extra(task))
    exact = {name: _own_left_out(best, task) for name, best in exact_searches(sides, ranges, depth).items()}
    columns: dict[str, list[str] | np.ndarray] = {"query_id": task.query_ids}
    for name, best in exact.items():
        columns |= {f"exact/{name}/{metric}": values for metric, values in _metrics(best, exact, task, config).items()}
    modes, timings = [], []
    for mode in engine.chosen_modes():
        built, searched, ids = _run(engine, mode, sides, depth, threads, work)
        best = _own_left_out(ids, task)
        values_by_metric = _metrics(best, exact, task, config)
        columns |= {f"{mode.name}/{metric}": values for metric, values in values_by_metric.items()}
        reference = mode.reference
        row = {
            "engine": engine.engine,
            "mode": mode.name,
            "stored": mode.stored,
            "quantizer": mode.quantizer,
            "index": mode.index,
            "rescoring": mode.rescoring,
            "reference": reference,
            "reproducible": engine.reproducible(mode),
            "version": searched["version"],
            "parameters": searched["parameters"],
            "documents": sides.count,
            "disk_bytes": built["disk_bytes"],
            "memory_bytes": searched["memory_bytes"],
            "same_scores": same_scores(sides, mode, best, exact[reference]),
            "metrics": {
                metric: {"value": float(values.mean()), "stderr": standard_error(values), "queries": len(values)}
                for metric, values in values_by_metric.items()
            },
        }
        modes.append(row)
        costs = {key: built[key] for key in ("build_seconds", "build_peak_bytes", "disk_bytes")}
        costs |= {key: searched[key] for key in ("open_seconds", "memory_bytes")}
        timings += [{"engine": engine.engine, "mode": mode.name, **costs, **timing} for timing in searched["timings"]]
    return Measured(columns, modes, timings)


def _run(
    engine: Engine, mode: Mode, sides: Sides, depth: int, threads: int, work: Path
) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    stored, folder = mode.received, (work / mode.name).absolute()
    common = {"engine": engine.model_dump(mode="json"), "mode": mode.name, "folder": str(folder / "index")}
    folder.mkdir()
    vectors = {
        "stored": str(sides.file("documents", stored).absolute()),
        "embeddings": str(sides.file("documents", "float32").absolute()),
        "count": sides.count,
        "dim": sides.dim,
        "similarity": sides.similarity,
    }
    built = request("build", {**common, "vectors": vectors, "threads": threads}, folder / "build")
    rescored = stored != "float32" and mode.rescoring != "none"
    values = {
        **common,
        "queries": str(sides.file("queries", stored).absolute()),
        "floats": str(sides.file("queries", "float32").absolute()) if rescored else None,
        "k": depth,
        "threads": [count for count in THREADS if count <= max(1, threads)],
    }
    searched = request("search", values, folder / "search")
    ids = load_array(folder / "search" / IDS)
    shutil.rmtree(folder)
    return built, searched, ids


def _extra(task: Task) -> int:
    """Return 1 if a query's own document is left out of its results, so that one more must be found; else 0."""
    return int(task.ignore_identical_ids)


def _own_left_out(best: np.ndarray, task: Task) -> np.ndarray:
    return without_itself(best, task)[:, : best.shape[1] - 1] if task.ignore_identical_ids else best


def _metrics(
    best: np.ndarray, exact: dict[Reference, np.ndarray], task: Task, config: EvaluateConfig
) -> dict[str, np.ndarray]:
    overlap = ranked.overlap(exact["float32"][:, :BEST], best[:, :BEST], NOTHING)
    return ranking_metrics(best, task, config.metrics) | {OVERLAP: overlap}
