"""scores.json, what the score stage writes and tables read: rows of figures, and the version of their columns."""

from pathlib import Path
from typing import NamedTuple, NotRequired

import numpy as np

from qatlab.artifact import read_json, write_json
from qatlab.errors import UserError
from qatlab.evaluation.outputs import OutputColumns

FILE = "scores.json"
SCHEMA = 3  # 1 was a bare list, without the column index; 2 had no column fitted_on


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
    """What the figures of a task are written from.

    Attributes:
        columns: per query, pair or text: `query_id`, and `<output>/<metric>` for each figure.
        scores: one row per output and metric, as `write_scores` takes them.
        timings: one row per output that is searched.
    """

    columns: dict[str, list[str] | np.ndarray]
    scores: list[ScoreRow]
    timings: list[TimingRow]


def write_scores(folder: Path, rows: list[ScoreRow]) -> None:
    """A row for each output and metric: the columns that scores.csv has of them."""
    write_json(folder / FILE, {"schema": SCHEMA, "scores": rows})


def read_scores(folder: Path) -> list[ScoreRow]:
    """The rows; raises UserError for those of another version."""
    found = read_json(folder / FILE)
    version = found.get("schema") if isinstance(found, dict) else 1
    if version != SCHEMA:
        raise UserError(
            f"{folder / FILE} is of schema {version}, and this version of qatlab reads {SCHEMA}; "
            f"remove {folder}, and run the study again"
        )
    rows: list[ScoreRow] = found["scores"]
    return rows


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean over queries; 0 for a single query."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
