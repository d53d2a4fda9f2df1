"""Long tables: every figure of a study in a row of its own, with where it comes from.

`status` is ok. Where a job has failed, or was not run, the rows that its figures would be in have none, and say so.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from qatlab.artifact import read_json
from qatlab.config.evaluate import COMPAT
from qatlab.evaluation.scores_file import read_scores
from qatlab.study.record import Evaluation, RunRecord
from qatlab.tables.machines import KernelsSeen
from qatlab.tables.missing import OK, STATUS, WHOLE, Missing, lacking_runs, own_bit_changes, worst
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
    STATUS,
    "fitted_on",
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
    STATUS,
]
# Of a deployment with quantized weights: how many of those of linear layers are quantized, and how many there are.
OF_COVERAGE = ("quantized_weights", "linear_weights")
COST_COLUMNS = [
    "run", "method", "seed", "deploy", "seconds_per_step", "examples_per_second", "steps", "train_seconds", "peak_memory_bytes",
    "bytes_on_disk", "texts_per_second", "train_device", "encode_device", "scheme", "tuning", "trained_parameters",
    "records_per_second", "records_seconds", *OF_COVERAGE, STATUS,
]  # fmt: skip

SEARCH_COLUMNS = [
    "run", "method", "seed", "deploy", "task", "rotation", "query_precision", "doc_precision", "scoring", "ranges", "rescoring",
    "dimensions", "doc_bytes", "stored_bytes", "queries_per_second", "threads", "index", STATUS, "fitted_on",
]  # fmt: skip


# Columns without fractions, also where a row has none.
COUNTS = ("queries", "doc_bytes", "stored_bytes", "threads", "n")
# What cost.csv has of a training: an untrained model has none.
OF_TRAINING = (
    "seconds_per_step",
    "examples_per_second",
    "steps",
    "peak_memory_bytes",
    "trained_parameters",
    "train_seconds",
)
FIGURES = (*OF_TRAINING, "bytes_on_disk", "texts_per_second", "value", "min", "max", "mean", "mean_distance", "top10_overlap",
           "rank_flips", "margin_change", "kendall_tau", "queries_per_second")  # fmt: skip


def scores(study: str, runs: Sequence[RunRecord], results: Path, missing: Missing = WHOLE) -> pd.DataFrame:
    """scores.csv: the mean over queries of each metric, with its standard error, per run, deployment, task and precision."""
    rows, kernels = [], KernelsSeen(runs, results, missing)
    for run in runs:
        for entry in run.evaluations:
            for score in _scores(entry, results, missing):
                rows.append(
                    {
                        "study": study,
                        **_identity(run),
                        "model": run.model,
                        "data": run.data,
                        "deploy": entry.deploy,
                        "task": entry.task,
                        **score,
                        **_arithmetic(run, entry, kernels),
                        **run.varied,
                    }
                )
    return _ordered(rows, SCORE_COLUMNS)


def _scores(entry: Evaluation, results: Path, missing: Missing) -> list[dict[str, object]]:
    """Rows of an evaluation, with their status."""
    if entry.score is None:
        return []
    status = missing.status(entry.score)
    found = read_scores(results / entry.score) if status == OK else missing.figures(entry.score)
    return [{**row, "value": row.get("value"), STATUS: status} for row in found]


def drift(runs: Sequence[RunRecord], results: Path, missing: Missing = WHOLE) -> pd.DataFrame:
    """drift.csv: cosine similarity to a reference's embeddings, per run, reference, deployment and task or set of texts."""
    rows, kernels = [], KernelsSeen(runs, results, missing)
    for run in runs:
        for entry in run.evaluations:
            for reference, path in entry.drift.items():
                status = missing.status(path)
                rows.append(
                    {
                        **_identity(run),
                        "reference": reference,
                        "deploy": entry.deploy,
                        "task": entry.task,
                        **(read_json(results / path / "drift.json") if status == OK else {}),
                        **_arithmetic(run, entry, kernels),
                        STATUS: status,
                        **run.varied,
                    }
                )
    return _ordered(rows, DRIFT_COLUMNS)


def _arithmetic(run: RunRecord, entry: Evaluation, kernels: KernelsSeen) -> dict[str, object]:
    """Where integers were multiplied, what the processor did that with: the same file gives other embeddings elsewhere."""
    return {"integer_kernel": kernels.of(run, entry), "reduce_range": run.reduce_range.get(entry.deploy)}


def cost(
    runs: Sequence[RunRecord], results: Path, withheld: Collection[str] = (), missing: Missing = WHOLE
) -> pd.DataFrame:
    """cost.csv: what training took, what a deployment weighs, and how fast it encodes (over all tasks).

    Args:
        withheld: the tasks of withheld records, which have a rate of their own: a record is a query and its candidates.
        missing: what is not there; a row of it has the other figures.
    """
    rows = []
    for run in runs:
        training = _cost_of_training(run, results, missing)
        for deploy in dict.fromkeys(entry.deploy for entry in run.evaluations if not is_simulation(entry.deploy)):
            deployment = _cost_of_deployment(run, deploy, results, withheld, missing)
            rows.append(
                {
                    **_identity(run),
                    "deploy": deploy,
                    **training,
                    "scheme": run.scheme,
                    "tuning": run.tuning,
                    **deployment,
                    STATUS: worst([str(training[STATUS]), str(deployment[STATUS])]),
                    **run.varied,
                }
            )
    return _ordered(rows, COST_COLUMNS)


def _cost_of_training(run: RunRecord, results: Path, missing: Missing) -> dict[str, object]:
    status = missing.status(run.trained)
    found = read_json(results / run.trained / "cost.json") if run.trains and status == OK else {}
    told = {key: found.get(key) for key in OF_TRAINING if key != "train_seconds"}
    return {**told, "train_seconds": found.get("seconds"), "train_device": found.get("device"), STATUS: status}


def _cost_of_deployment(
    run: RunRecord, deploy: str, results: Path, withheld: Collection[str], missing: Missing
) -> dict[str, object]:
    entries = [entry for entry in run.evaluations if entry.deploy == deploy]
    deployed, encoded = run.deployed[deploy], [entry.encode for entry in entries]
    scored = [entry.score for entry in entries if entry.score is not None and entry.task in withheld]
    told: dict[str, object] = {STATUS: missing.status(deployed, *encoded, *scored)}
    if missing.status(deployed) == OK:
        of_deployment = read_json(results / deployed / "cost.json")
        told["bytes_on_disk"] = of_deployment["bytes"]
        told |= {key: of_deployment.get(key) for key in OF_COVERAGE}
    if missing.status(*encoded) == OK:
        took = [read_json(results / path / "cost.json") for path in encoded]
        told["texts_per_second"] = sum(e["texts"] for e in took) / sum(e["seconds"] for e in took)
        told["encode_device"] = took[0]["device"]
        if missing.status(*scored) == OK:
            told |= _records(run, deploy, results, withheld)
    return told


def _records(run: RunRecord, deploy: str, results: Path, withheld: Collection[str]) -> dict[str, float]:
    """Records a second, and seconds for all of them: their texts encoded, each once."""
    of_deployment = [entry for entry in run.evaluations if entry.deploy == deploy and entry.task in withheld]
    entries = [(entry.encode, entry.score) for entry in of_deployment if entry.score is not None]
    if not entries:
        return {}
    seconds = sum(read_json(results / encode / "cost.json")["seconds"] for encode, _ in entries)
    records = sum(read_scores(results / score)[0]["queries"] for _, score in entries)
    return {"records_per_second": records / seconds, "records_seconds": seconds}


def search(runs: Sequence[RunRecord], results: Path, missing: Missing = WHOLE) -> pd.DataFrame:
    """search.csv: what a document takes and a query costs, per run, deployment, task and output.

    `stored_bytes` counts copies for rescoring too. Queries per second are of exhaustive searches of all queries at once,
    rescoring included, measured once, with documents in the form that is compared: preparing them is not counted. This form is
    bits for Hamming distance and RaBitQ, and float32 for all else: integers are decoded before they are compared.
    """
    rows = []
    for run in runs:
        for entry in run.evaluations:
            for timing in _timings(entry, results, missing):
                rows.append({**_identity(run), "deploy": entry.deploy, "task": entry.task, **timing, **run.varied})
    return _ordered(rows, SEARCH_COLUMNS)


def _timings(entry: Evaluation, results: Path, missing: Missing) -> list[dict[str, object]]:
    """Rows of an evaluation, with their status: what is searched, and not scored by others' code."""
    if entry.score is None:
        return []
    status = missing.status(entry.score)
    if status == OK:
        return [{**row, STATUS: OK} for row in read_json(results / entry.score / "timings.json")]
    rows = missing.figures(entry.score) if missing.artifacts[entry.score].kind == "retrieval" else []
    planned: list[Mapping[str, object]] = [row for row in rows if row["scoring"] not in COMPAT]
    searched = [{key: row[key] for key in row if key != "metric"} for row in planned]
    distinct = {tuple(row.values()): {**row, STATUS: status} for row in searched}
    return list(distinct.values())


def runs_table(runs: Sequence[RunRecord], missing: Missing = WHOLE) -> pd.DataFrame:
    """runs.csv: every artifact that each run uses, whether they are there, and why not.

    What only the decomposition embeds stands in rows of its own.
    """
    rows, lacking = [], lacking_runs(runs, missing)
    for run in runs:
        parts = {(part.deploy, part.task, part.encode): part for part in run.parts}
        entries = {(entry.deploy, entry.task, entry.encode): entry for entry in run.evaluations}
        for key in dict.fromkeys([*entries, *parts]):
            (deploy, task, encode), part = key, parts.get(key)
            entry = entries.get(key, Evaluation(deploy=deploy, task=task, encode=encode))
            deployed, scores = (part.deployed, part.scores) if part else (run.deployed[deploy], ())
            of_score = [path for path in (entry.training, entry.score) if path]
            paths = [run.trained, deployed, encode, *of_score, *entry.drift.values(), *scores]
            paths += own_bit_changes(entry, lacking)
            rows.append(
                {
                    **_identity(run),
                    "deploy": deploy,
                    "task": task,
                    "trained": run.trained,
                    "deployed": deployed,
                    "encode": encode,
                    "training": entry.training,  # what its axes or ranges were fitted on
                    "score": entry.score,
                    "drift": " ".join(entry.drift.values()) or None,
                    "bit_changes": " ".join(entry.bit_changes.values()) or None,
                    "decomposition": " ".join(scores) or None,
                    STATUS: missing.status(*paths),
                    "failure": missing.reason(*paths),
                    **run.varied,
                }
            )
    return pd.DataFrame(rows)


def _identity(run: RunRecord) -> dict[str, object]:
    return {"run": run.name, "method": run.method, "seed": run.seed}


def _ordered(rows: list[dict[str, object]], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=None if rows else columns)
    table["seed"] = table["seed"].astype("Int64")  # an untrained model has none
    if "dimensions" in table:
        table["dimensions"] = table["dimensions"].astype("Int64")  # where none were cut off
    table = table.astype({column: "Int64" for column in OF_COVERAGE if column in table})  # floats have none
    if table.get(STATUS, pd.Series(OK)).ne(OK).any():
        table = table.astype({column: "Int64" for column in COUNTS if column in table})
        table = table.astype({column: float for column in FIGURES if column in table})
    return table.reindex(columns=[*columns, *(column for column in table.columns if column not in columns)])
