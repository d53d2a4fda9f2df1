"""The file scores.json, which the stage `score` writes and tables read: its rows, and the rows that a missing file would have."""

from pathlib import Path
from typing import NamedTuple, NotRequired

import numpy as np

from qatlab.artifact import read_json, write_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.errors import UserError
from qatlab.evaluation.outputs import OutputColumns, outputs
from qatlab.evaluation.task import Kind


def parts(whole: float, without: np.ndarray) -> np.ndarray:
    """Compute the jackknife pseudo-value of each text, shifted so that their mean is the metric of all texts.

    The variance of pseudo-values (n times the metric minus n − 1 times the metric without the text) estimates the metric's sampling
    error.

    Args:
        whole: The metric of all texts.
        without: (n,) float64, for each text the metric of all others; n should be at least 4, because the metric of two texts has
            little meaning.

    Returns:
        (n,) float64.

    References:
        Efron and Stein 1981, "The jackknife estimate of variance", https://doi.org/10.1214/aos/1176345462
    """
    count = len(without)
    pseudo = count * whole - (count - 1) * without
    shifted: np.ndarray = pseudo - pseudo.mean() + whole
    return shifted


FILE = "scores.json"
SCHEMA = 3  # Version 1 was a list without the column index; version 2 had no column fitted_on.


class ScoreRow(OutputColumns):
    """One row of scores.json: an output, a metric, and the metric's mean over queries; a planned row has the metric alone."""

    metric: str
    value: NotRequired[float]
    stderr: NotRequired[float]
    queries: NotRequired[int]


class TimingRow(OutputColumns):
    """One row of timings.json: an output that is searched, the bytes of a document in all its copies, and the speed."""

    stored_bytes: int
    queries_per_second: float
    threads: int


class Scored(NamedTuple):
    """The metrics of one model on one task.

    Attributes:
        columns: Arrays with one value per query, pair or text: `query_id`, and `<output>/<metric>` for each metric.
        scores: One row per output and metric, as `write_scores` takes them.
        timings: One row per output that is searched.
    """

    columns: dict[str, list[str] | np.ndarray]
    scores: list[ScoreRow]
    timings: list[TimingRow]


def write_scores(folder: Path, rows: list[ScoreRow]) -> None:
    """Write scores.json to a folder.

    Args:
        folder: The folder of the score artifact.
        rows: One row per output and metric, with columns of scores.csv.
    """
    write_json(folder / FILE, {"schema": SCHEMA, "scores": rows})


def read_scores(folder: Path) -> list[ScoreRow]:
    """Read the rows of scores.json from a folder; raise UserError for another version of the file."""
    content = read_json(folder / FILE)
    version = content.get("schema") if isinstance(content, dict) else 1
    if version != SCHEMA:
        raise UserError(
            f"{folder / FILE} has schema version {version}, but this version of qatlab reads {SCHEMA}; "
            f"remove {folder}, and run the study again"
        )
    rows: list[ScoreRow] = content["scores"]
    return rows


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean over queries; 0 for a single query."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


# The output of a causal language model, which is text, in the columns of scores.csv that describe outputs.
TEXT_OUTPUT: OutputColumns = {
    "query_precision": "text",
    "doc_precision": "text",
    "rotation": "none",
    "doc_bytes": None,
    "scoring": "none",
    "ranges": "none",
    "rescoring": "none",
    "dimensions": None,
    "index": "flat",
    "fitted_on": "none",
}
# Metrics of each kind of task except retrieval, whose metrics are configured.
METRICS_OF_KIND = {
    "agreement": ("overlap@10", "kendall@100"),
    "reranking": ("accuracy@1", "mrr", "rank", "positive_similarity", "margin"),
    "similarity": ("spearman", "pearson"),
    "translation": ("chrf", "bleu"),
    "language_modelling": ("bits_per_byte",),
}


def planned_scores(evaluate: EvaluateConfig | None, kind: Kind) -> list[ScoreRow]:
    """Return the rows of scores.json without values and without the bytes per document, which depend on the model's dimensions.

    Args:
        evaluate: How embeddings are scored; None where the models have none.
        kind: Kind of the task.
    """
    if kind in ("translation", "language_modelling"):
        return [{**TEXT_OUTPUT, "metric": metric} for metric in METRICS_OF_KIND[kind]]
    assert evaluate is not None, "only text is scored without a configuration"
    metrics = METRICS_OF_KIND.get(kind, evaluate.metrics)
    return [
        {**output.described(1), "doc_bytes": None, "metric": metric}
        for output in outputs(evaluate, kind)
        for metric in metrics
    ]
