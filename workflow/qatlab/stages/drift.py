"""Stage drift: cosine similarity of a deployment's embeddings to the reference's, text by text, and the effect on a search."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from qatlab.artifact import load_array, write_json
from qatlab.deployments.deployment import cosine
from qatlab.errors import UserError
from qatlab.evaluation.search_drift import search_drift
from qatlab.evaluation.task import Task, load_task
from qatlab.job import JobDescription

TABLES = {"documents": ("documents",), "queries": ("queries",), "all": ("documents", "queries")}


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write drift.json and cosines.npy, (n,) float64.

    drift.json has minimum, maximum and mean of the cosine similarity, mean distance and n, as published studies report them; for a task,
    also the results of `search_drift` for searches with its queries.
    """
    config = description.config
    is_task = "task" in inputs
    texts = config["texts"] if is_task else "documents"
    pairs = {name: _pair(inputs, name) for name in (("documents", "queries") if is_task else ("documents",))}
    before, after = (np.concatenate([pairs[name][side] for name in TABLES[texts]]) for side in (0, 1))
    if before.shape != after.shape:
        raise UserError(
            f"embeddings of {before.shape[1]} and {after.shape[1]} dimensions cannot be compared; "
            "leave one of the two deployments out, or change drift.reference"
        )
    cosines = cosine(before[: config["limit"]], after[: config["limit"]])
    np.save(output / "cosines.npy", cosines)
    results: dict[str, object] = {
        "min": float(cosines.min()),
        "max": float(cosines.max()),
        "mean": float(cosines.mean()),
        "mean_distance": float(1 - cosines.mean()),
        "n": len(cosines),
        "texts": texts,
    }
    task = load_task(inputs["task"]) if is_task else None
    if task is not None and task.kind != "similarity" and len(task.document_ids) > 1:
        searched = asdict(search_drift(pairs["queries"], pairs["documents"], _relevant(task)))
        results |= {name: None if np.isnan(value) else value for name, value in searched.items()}
    write_json(output / "drift.json", results)


def _pair(inputs: dict[str, Path], name: str) -> tuple[np.ndarray, np.ndarray]:
    before, after = (load_array(inputs[role] / f"{name}.npy") for role in ("reference", "encode"))
    return before, after


def _relevant(task: Task) -> list[np.ndarray]:
    """Return the positions of each query's relevant documents, in the order of the task's tables."""
    position = {identifier: index for index, identifier in enumerate(task.document_ids)}
    return [
        np.array([position[name] for name in task.relevant(query) if name in position], dtype=np.int64)
        for query in task.query_ids
    ]
