"""Long tables of a study: one value per row, with the run, deployment and task that it comes from.

The column `status` is `ok`. Rows of a job that has failed or was not run have no values, and their status is `failed` or `not run`.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from qatlab.artifact import read_json
from qatlab.config.evaluate import COMPAT
from qatlab.evaluation.outputs import read_scores
from qatlab.evaluation.task import SEARCHED
from qatlab.study.record import Evaluation, RunRecord
from qatlab.tables.missing import OK, STATUS, WHOLE, KernelsSeen, Missing, lacking_runs, own_bit_changes, worst
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
# For a deployment with quantized weights: the number of quantized weights of linear layers, and of all weights of linear layers.
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


OF_INDEX = ("disk_bytes", "memory_bytes", "build_peak_bytes")  # columns of rows of vector search engines
# Columns of integers, which stay integers if a row has no value.
COUNTS = ("queries", "doc_bytes", "stored_bytes", "threads", "n")
# Columns of cost.csv that describe a training; they are empty for an untrained model.
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
    """Build scores.csv: the mean over queries of each metric, with its standard error, per run, deployment, task and output.

    Args:
        study: name of the study.
        runs: the study's runs.
        results: the folder of artifacts.
        missing: artifacts that are missing; their rows have no values.
    """
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
    """Return the rows of an evaluation, with their status."""
    if entry.score is None:
        return []
    status = missing.status(entry.score)
    rows = read_scores(results / entry.score) if status == OK else missing.figures(entry.score)
    return [{**row, "value": row.get("value"), STATUS: status} for row in rows]


def drift(runs: Sequence[RunRecord], results: Path, missing: Missing = WHOLE) -> pd.DataFrame:
    """Build drift.csv: cosine similarity to a reference's embeddings, per run, reference, deployment and task or set of texts.

    Args:
        runs: the study's runs.
        results: the folder of artifacts.
        missing: artifacts that are missing; their rows have no values.
    """
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
    """Return the integer kernel of the CPU and ONNX's `reduce_range`: the same file yields other embeddings with other kernels."""
    return {"integer_kernel": kernels.of(run, entry), "reduce_range": run.reduce_range.get(entry.deploy)}


def cost(
    runs: Sequence[RunRecord], results: Path, withheld: Collection[str] = (), missing: Missing = WHOLE
) -> pd.DataFrame:
    """Build cost.csv: time and memory of training, size on disk and encoding speed (over all tasks), per run and deployment.

    Args:
        runs: the study's runs.
        results: the folder of artifacts.
        withheld: tasks of held-out triplets, whose speed is also counted in records: a record is a query with its candidates.
        missing: artifacts that are missing; their rows keep the values of other artifacts.
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
    measured = read_json(results / run.trained / "cost.json") if run.trains and status == OK else {}
    columns = {key: measured.get(key) for key in OF_TRAINING if key != "train_seconds"}
    columns["train_seconds"] = measured.get("seconds")
    if measured.get("steps_before"):  # The training that this one starts from is counted too.
        columns["steps"] += measured["steps_before"]
        columns["train_seconds"] += measured["seconds_before"]
    return {
        **columns,
        "train_device": measured.get("device"),
        STATUS: status,
    }


def _cost_of_deployment(
    run: RunRecord, deploy: str, results: Path, withheld: Collection[str], missing: Missing
) -> dict[str, object]:
    entries = [entry for entry in run.evaluations if entry.deploy == deploy]
    deployed, encoded = run.deployed[deploy], [entry.encode for entry in entries]
    scored = [entry.score for entry in entries if entry.score is not None and entry.task in withheld]
    columns: dict[str, object] = {STATUS: missing.status(deployed, *encoded, *scored)}
    if missing.status(deployed) == OK:
        of_deployment = read_json(results / deployed / "cost.json")
        columns["bytes_on_disk"] = of_deployment["bytes"]
        columns |= {key: of_deployment.get(key) for key in OF_COVERAGE}
    if missing.status(*encoded) == OK:
        costs = [read_json(results / path / "cost.json") for path in encoded]
        columns["texts_per_second"] = sum(e["texts"] for e in costs) / sum(e["seconds"] for e in costs)
        columns["encode_device"] = costs[0]["device"]
        if missing.status(*scored) == OK:
            columns |= _records(run, deploy, results, withheld)
    return columns


def _records(run: RunRecord, deploy: str, results: Path, withheld: Collection[str]) -> dict[str, float]:
    """Return the records per second and the seconds for all records, when each of their texts is encoded once."""
    of_deployment = [entry for entry in run.evaluations if entry.deploy == deploy and entry.task in withheld]
    entries = [(entry.encode, entry.score) for entry in of_deployment if entry.score is not None]
    if not entries:
        return {}
    seconds = sum(read_json(results / encode / "cost.json")["seconds"] for encode, _ in entries)
    records = sum(read_scores(results / score)[0]["queries"] for _, score in entries)
    return {"records_per_second": records / seconds, "records_seconds": seconds}


def search(runs: Sequence[RunRecord], results: Path, missing: Missing = WHOLE) -> pd.DataFrame:
    """Build search.csv: bytes per document and queries per second, per run, deployment, task and output.

    `stored_bytes` includes copies for rescoring. Queries per second are measured once, in an exhaustive search of all queries at
    once, rescoring included. Preparing the documents for the comparison is not counted: they are bits for Hamming distance,
    RaBitQ and BBQ, and float32 for all else, because integers are decoded before they are compared.

    Args:
        runs: the study's runs.
        results: the folder of artifacts.
        missing: artifacts that are missing; their rows have no values.
    """
    rows = []
    for run in runs:
        for entry in run.evaluations:
            for timing in _timings(entry, results, missing):
                rows.append({**_identity(run), "deploy": entry.deploy, "task": entry.task, **timing, **run.varied})
            for row in _engine_timings(entry, results, missing):
                rows.append({**_identity(run), "deploy": entry.deploy, "task": entry.task, **row, **run.varied})
    table = _ordered(rows, SEARCH_COLUMNS)
    return table.astype({column: "Int64" for column in OF_INDEX if column in table})


def without_engines(search: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of search.csv whose searches are qatlab's own, as the outputs of scores.csv are."""
    return search[search["engine"].isna()] if "engine" in search else search


def _engine_timings(entry: Evaluation, results: Path, missing: Missing) -> list[dict[str, object]]:
    """Return one row per engine, mode and number of threads; bytes per document are those of the files on disk.

    Besides the columns of other searches, the rows have `engine`, `mode`, latencies in milliseconds, the seconds and the peak memory of
    the build, and the bytes of the whole index on disk and in memory.
    """
    rows: list[dict[str, object]] = []
    for engine, path in entry.engines.items():
        status = missing.status(path)
        plain = {"rotation": "none", "rescoring": "none", "ranges": "none", "index": "flat", "fitted_on": "none"}
        if status != OK:
            rows.append({**plain, "scoring": engine, "engine": engine, STATUS: status})
            continue
        described = read_json(results / path / "engine.json")
        modes = {row["mode"]: row for row in described["modes"]}
        for timing in read_json(results / path / "search.json"):
            mode = modes[timing["mode"]]
            per_document = round(mode["disk_bytes"] / mode["documents"])
            own = mode["quantizer"] == "qatlab"
            rows.append(
                {
                    **plain,
                    "query_precision": mode["stored"] if own else "float32",
                    "doc_precision": mode["stored"],
                    "scoring": f"{engine}:{mode['mode']}",  # so that no other output has the same columns
                    "ranges": described["ranges"] if own and mode["stored"] == "int8" else "none",
                    "rescoring": mode["rescoring"],
                    "dimensions": None,
                    "doc_bytes": per_document,
                    "stored_bytes": per_document,
                    "index": "flat" if mode["index"] == "exact" else mode["index"],
                    **timing,
                    STATUS: status,
                }
            )
    return rows


def _timings(entry: Evaluation, results: Path, missing: Missing) -> list[dict[str, object]]:
    """Return the rows of an evaluation with their status, without outputs that other libraries score instead of a search."""
    if entry.score is None:
        return []
    status = missing.status(entry.score)
    if status == OK:
        return [{**row, STATUS: OK} for row in read_json(results / entry.score / "timings.json")]
    rows = missing.figures(entry.score) if missing.artifacts[entry.score].kind in SEARCHED else []
    planned: list[Mapping[str, object]] = [row for row in rows if row["scoring"] not in COMPAT]
    searched = [{key: row[key] for key in row if key != "metric"} for row in planned]
    distinct = {tuple(row.values()): {**row, STATUS: status} for row in searched}
    return list(distinct.values())


def runs_table(runs: Sequence[RunRecord], missing: Missing = WHOLE) -> pd.DataFrame:
    """Build runs.csv: the artifacts that each run uses, their status, and the reason if one has failed.

    Encodings that only the decomposition uses have separate rows.
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
            paths = [run.trained, deployed, encode, *of_score, *entry.drift.values(), *entry.engines.values(), *scores]
            paths += own_bit_changes(entry, lacking)
            rows.append(
                {
                    **_identity(run),
                    "deploy": deploy,
                    "task": task,
                    "trained": run.trained,
                    "deployed": deployed,
                    "encode": encode,
                    "training": entry.training,  # encoding of the training texts that axes or ranges were fitted on
                    "score": entry.score,
                    "drift": " ".join(entry.drift.values()) or None,
                    "bit_changes": " ".join(entry.bit_changes.values()) or None,
                    "decomposition": " ".join(scores) or None,
                    **({"engines": " ".join(entry.engines.values())} if entry.engines else {}),
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
    table["seed"] = table["seed"].astype("Int64")  # an untrained model has no seed
    if "dimensions" in table:
        table["dimensions"] = table["dimensions"].astype("Int64")  # empty where all dimensions are kept
    table = table.astype({column: "Int64" for column in OF_COVERAGE if column in table})  # empty for float deployments
    if table.get(STATUS, pd.Series(OK)).ne(OK).any():
        table = table.astype({column: "Int64" for column in COUNTS if column in table})
        table = table.astype({column: float for column in FIGURES if column in table})
    return table.reindex(columns=[*columns, *(column for column in table.columns if column not in columns)])
