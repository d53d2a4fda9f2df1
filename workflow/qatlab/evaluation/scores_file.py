"""The file scores.json, which the stage `score` writes and tables read: rows of metrics, and the version of their columns."""

from pathlib import Path
from typing import NamedTuple, NotRequired

import numpy as np

from qatlab.artifact import read_json, write_json
from qatlab.errors import UserError
from qatlab.evaluation.outputs import OutputColumns

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
