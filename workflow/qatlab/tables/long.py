"""Long tables: every figure of a study in a row of its own, with where it comes from."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from qatlab.artifact import read_json
from qatlab.evaluation.scores_file import read_scores
from qatlab.tables.names import is_simulation

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
    "ranges",
    "rescoring",
    "dimensions",
    "integer_kernel",
    "reduce_range",
    "index",
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
    "top10_overlap",
    "rank_flips",
    "margin_change",
    "kendall_tau",
    "integer_kernel",
    "reduce_range",
]
COST_COLUMNS = [
    "run", "method", "seed", "deploy", "seconds_per_step", "examples_per_second", "steps", "train_seconds", "peak_memory_bytes",
    "bytes_on_disk", "texts_per_second", "train_device", "encode_device", "scheme", "tuning", "trained_parameters",
    "records_per_second", "records_seconds",
]  # fmt: skip

SEARCH_COLUMNS = [
    "run", "method", "seed", "deploy", "task", "rotation", "query_precision", "doc_precision", "scoring", "ranges", "rescoring",
    "dimensions", "doc_bytes", "stored_bytes", "queries_per_second", "threads", "index",
]  # fmt: skip


def scores(study: str, runs: list[dict[str, Any]], results: Path) -> pd.DataFrame:
    """scores.csv: the mean over queries of each metric, with its standard error, per run, deployment, task and precision."""
    rows = []
    for run in runs:
        for entry in run["evaluations"]:
            for score in read_scores(results / entry["score"]) if "score" in entry else []:
                rows.append(
                    {
                        "study": study,
                        **_identity(run),
                        "model": run["model"],
                        "data": run["data"],
                        "deploy": entry["deploy"],
                        "task": entry["task"],
                        **score,
                        **_arithmetic(run, entry, results),
                        **run["varied"],
                    }
                )
    return _ordered(rows, SCORE_COLUMNS)


def drift(runs: list[dict[str, Any]], results: Path) -> pd.DataFrame:
    """drift.csv: cosine similarity to a reference's embeddings, per run, reference, deployment and task or set of texts."""
    rows = []
    for run in runs:
        for entry in run["evaluations"]:
            for reference, path in entry["drift"].items():
                rows.append(
                    {
                        **_identity(run),
                        "reference": reference,
                        "deploy": entry["deploy"],
                        "task": entry["task"],
                        **read_json(results / path / "drift.json"),
                        **_arithmetic(run, entry, results),
                        **run["varied"],
                    }
                )
    return _ordered(rows, DRIFT_COLUMNS)


def _arithmetic(run: dict[str, Any], entry: dict[str, Any], results: Path) -> dict[str, Any]:
    """Where integers were multiplied, what the processor did that with: the same file gives other embeddings elsewhere."""
    machine = read_json(results / entry["encode"] / "machine.json")
    return {"integer_kernel": machine["integer_kernel"], "reduce_range": run["reduce_range"].get(entry["deploy"])}


def cost(runs: list[dict[str, Any]], results: Path, withheld: Collection[str] = ()) -> pd.DataFrame:
    """cost.csv: what training took, what a deployment weighs, and how fast it encodes (over all tasks).

    Args:
        withheld: the tasks of withheld records, which have a rate of their own: a record is a query and its candidates.
    """
    rows = []
    for run in runs:
        training = read_json(results / run["trained"] / "cost.json") if run["trained"].startswith("train") else {}
        for deploy in dict.fromkeys(
            entry["deploy"] for entry in run["evaluations"] if not is_simulation(entry["deploy"])
        ):
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
                        for key in (
                            "seconds_per_step",
                            "examples_per_second",
                            "steps",
                            "peak_memory_bytes",
                            "trained_parameters",
                        )
                    },
                    "scheme": run["scheme"],
                    "tuning": run["tuning"],
                    "train_seconds": training.get("seconds"),
                    "train_device": training.get("device"),
                    "bytes_on_disk": read_json(results / run["deployed"][deploy] / "cost.json")["bytes"],
                    "texts_per_second": sum(e["texts"] for e in encodings) / sum(e["seconds"] for e in encodings),
                    "encode_device": encodings[0]["device"],
                    **_records(run, deploy, results, withheld),
                    **run["varied"],
                }
            )
    return _ordered(rows, COST_COLUMNS)


def _records(run: dict[str, Any], deploy: str, results: Path, withheld: Collection[str]) -> dict[str, float]:
    """Records a second, and seconds for all of them: their texts encoded, each once."""
    entries = [entry for entry in run["evaluations"] if entry["deploy"] == deploy and entry["task"] in withheld]
    if not entries:
        return {}
    seconds = sum(read_json(results / entry["encode"] / "cost.json")["seconds"] for entry in entries)
    records = sum(read_scores(results / entry["score"])[0]["queries"] for entry in entries)
    return {"records_per_second": records / seconds, "records_seconds": seconds}


def search(runs: list[dict[str, Any]], results: Path) -> pd.DataFrame:
    """search.csv: what a document takes and a query costs, per run, deployment, task and output.

    `stored_bytes` counts copies for rescoring too. Queries per second are of exhaustive searches of all queries at once,
    rescoring included, measured once, with documents in the form that is compared: preparing them is not counted. This form is
    bits for Hamming distance and RaBitQ, and float32 for all else: integers are decoded before they are compared.
    """
    rows = []
    for run in runs:
        for entry in run["evaluations"]:
            for timing in read_json(results / entry["score"] / "timings.json") if "score" in entry else []:
                rows.append(
                    {**_identity(run), "deploy": entry["deploy"], "task": entry["task"], **timing, **run["varied"]}
                )
    return _ordered(rows, SEARCH_COLUMNS)


def runs_table(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """runs.csv: every artifact that each run uses. What only the decomposition embeds stands in rows of its own."""
    rows = []
    for run in runs:
        parts, entries = (
            {(entry["deploy"], entry["task"], entry["encode"]): entry for entry in run[kind]}
            for kind in ("parts", "evaluations")
        )
        for key in dict.fromkeys([*entries, *parts]):
            (deploy, task, encode), entry, part = key, entries.get(key, {}), parts.get(key, {})
            rows.append(
                {
                    **_identity(run),
                    "deploy": deploy,
                    "task": task,
                    "trained": run["trained"],
                    "deployed": part["deployed"] if part else run["deployed"][deploy],
                    "encode": encode,
                    "score": entry.get("score"),
                    "drift": " ".join(entry.get("drift", {}).values()) or None,
                    "decomposition": " ".join(part.get("scores", [])) or None,
                    **run["varied"],
                }
            )
    return pd.DataFrame(rows)


def _identity(run: dict[str, Any]) -> dict[str, Any]:
    return {"run": run["run"], "method": run["method"], "seed": run["seed"]}


def _ordered(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=None if rows else columns)
    table["seed"] = table["seed"].astype("Int64")  # an untrained model has none
    if "dimensions" in table:
        table["dimensions"] = table["dimensions"].astype("Int64")  # where none were cut off
    return table.reindex(columns=[*columns, *(column for column in table.columns if column not in columns)])
