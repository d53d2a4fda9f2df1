"""Long tables: every figure of a study in a row of its own, with where it comes from."""

from pathlib import Path
from typing import Any

import pandas as pd

from qatlab.artifact import read_json

SCORE_COLUMNS = [
    "study",
    "run",
    "model",
    "data",
    "method",
    "seed",
    "deploy",
    "task",
    "query_precision",
    "doc_precision",
    "scoring",
    "metric",
    "value",
    "queries",
    "stderr",
    "rotation",
    "doc_bytes",
]
DRIFT_COLUMNS = [
    "run",
    "method",
    "seed",
    "reference",
    "deploy",
    "task",
    "min",
    "max",
    "mean",
    "mean_distance",
    "n",
    "texts",
]
COST_COLUMNS = [
    "run", "method", "seed", "deploy", "seconds_per_step", "examples_per_second", "steps", "train_seconds", "peak_memory_bytes",
    "bytes_on_disk", "texts_per_second", "train_device", "encode_device",
]  # fmt: skip


def scores(study: str, runs: list[dict[str, Any]], results: Path) -> pd.DataFrame:
    """scores.csv: the mean over queries of each metric, with its standard error, per run, deployment, task and precision."""
    rows = []
    for run in runs:
        for entry in run["evaluations"]:
            for score in read_json(results / entry["score"] / "scores.json"):
                rows.append(
                    {
                        "study": study,
                        **_identity(run),
                        "model": run["model"],
                        "data": run["data"],
                        "deploy": entry["deploy"],
                        "task": entry["task"],
                        **score,
                        **run["varied"],
                    }
                )
    return _ordered(rows, SCORE_COLUMNS)


def drift(runs: list[dict[str, Any]], results: Path) -> pd.DataFrame:
    """drift.csv: cosine similarity to the reference deployment's embeddings, per run, deployment and task."""
    rows = []
    for run in runs:
        for entry in run["evaluations"]:
            if "drift" in entry:
                figures = read_json(results / entry["drift"] / "drift.json")
                rows.append(
                    {
                        **_identity(run),
                        "reference": run["drift_reference"],
                        "deploy": entry["deploy"],
                        "task": entry["task"],
                        **figures,
                        **run["varied"],
                    }
                )
    return _ordered(rows, DRIFT_COLUMNS)


def cost(runs: list[dict[str, Any]], results: Path) -> pd.DataFrame:
    """cost.csv: what training took, what a deployment weighs, and how fast it encodes (over all tasks)."""
    rows = []
    for run in runs:
        training = read_json(results / run["trained"] / "cost.json") if run["trained"].startswith("train/") else {}
        for deploy in dict.fromkeys(entry["deploy"] for entry in run["evaluations"]):
            encodings = [
                read_json(results / entry["encode"] / "cost.json")
                for entry in run["evaluations"]
                if entry["deploy"] == deploy
            ]
            rows.append(
                {
                    **_identity(run),
                    "deploy": deploy,
                    **{
                        key: training.get(key)
                        for key in ("seconds_per_step", "examples_per_second", "steps", "peak_memory_bytes")
                    },
                    "train_seconds": training.get("seconds"),
                    "train_device": training.get("device"),
                    "bytes_on_disk": read_json(results / run["deployed"][deploy] / "cost.json")["bytes"],
                    "texts_per_second": sum(e["texts"] for e in encodings) / sum(e["seconds"] for e in encodings),
                    "encode_device": encodings[0]["device"],
                    **run["varied"],
                }
            )
    return _ordered(rows, COST_COLUMNS)


def runs_table(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """runs.csv: every artifact that each run uses."""
    rows = []
    for run in runs:
        for entry in run["evaluations"]:
            artifacts = {kind: entry.get(kind) for kind in ("encode", "score", "drift")}
            inputs = {"trained": run["trained"], "deployed": run["deployed"][entry["deploy"]]}
            rows.append(
                {
                    **_identity(run),
                    "deploy": entry["deploy"],
                    "task": entry["task"],
                    **inputs,
                    **artifacts,
                    **run["varied"],
                }
            )
    return pd.DataFrame(rows)


def _identity(run: dict[str, Any]) -> dict[str, Any]:
    return {"run": run["run"], "method": run["method"], "seed": run["seed"]}


def _ordered(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=None if rows else columns)
    table["seed"] = table["seed"].astype("Int64")  # an untrained model has none
    return table.reindex(columns=[*columns, *(column for column in table.columns if column not in columns)])
