"""drift: how far a deployment's embeddings stand from the reference's, text by text, and what that does to a search."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from qatlab.artifact import write_json
from qatlab.errors import UserError
from qatlab.evaluation.cosine import cosine
from qatlab.evaluation.search_drift import search_drift

TABLES = {"documents": ("documents",), "queries": ("queries",), "all": ("documents", "queries")}


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes drift.json and cosines.npy, (n,) float64.

    drift.json has min, max and mean cosine similarity, mean distance and n, as published studies do; for a task also what
    search_drift says of searches with the queries.
    """
    config = description["config"]
    of_task = "task" in inputs
    texts = config["texts"] if of_task else "documents"
    pairs = {name: _pair(inputs, name) for name in (("documents", "queries") if of_task else ("documents",))}
    before, after = (np.concatenate([pairs[name][side] for name in TABLES[texts]]) for side in (0, 1))
    if before.shape != after.shape:
        raise UserError(
            f"embeddings of {before.shape[1]} and {after.shape[1]} dimensions cannot be compared; "
            "leave one of the two deployments out, or change drift.reference"
        )
    cosines = cosine(before[: config["limit"]], after[: config["limit"]])
    np.save(output / "cosines.npy", cosines)
    figures: dict[str, Any] = {
        "min": float(cosines.min()),
        "max": float(cosines.max()),
        "mean": float(cosines.mean()),
        "mean_distance": float(1 - cosines.mean()),
        "n": len(cosines),
        "texts": texts,
    }
    if of_task and len(pairs["documents"][0]) > 1:
        searched = asdict(search_drift(pairs["queries"], pairs["documents"], _relevant(inputs["task"])))
        figures |= {name: None if np.isnan(value) else value for name, value in searched.items()}
    write_json(output / "drift.json", figures)


def _pair(inputs: dict[str, Path], name: str) -> tuple[np.ndarray, np.ndarray]:
    before, after = (np.load(inputs[role] / f"{name}.npy", allow_pickle=False) for role in ("reference", "encode"))
    return before, after


def _relevant(task: Path) -> list[np.ndarray]:
    """Positions of each query's relevant documents, in the order of the task's tables."""
    documents, queries = (
        pq.read_table(task / f"{name}.parquet")["id"].to_pylist() for name in ("documents", "queries")
    )
    position = {identifier: index for index, identifier in enumerate(documents)}
    found: dict[str, list[int]] = {identifier: [] for identifier in queries}
    for row in pq.read_table(task / "qrels.parquet").to_pylist():
        if row["relevance"] > 0 and row["query_id"] in found:
            found[row["query_id"]].append(position[row["doc_id"]])
    return [np.array(found[identifier], dtype=np.int64) for identifier in queries]
