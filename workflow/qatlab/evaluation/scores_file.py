"""The file scores.json, which the stage `score` writes and tables read: rows of metrics, and the version of their columns."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qatlab.artifact import read_json, write_json
from qatlab.errors import UserError

FILE = "scores.json"
SCHEMA = 3  # Version 1 was a list without the column index; version 2 had no column fitted_on.


class Scored(NamedTuple):
    """The metrics of one model on one task.

    Attributes:
        columns: Arrays with one value per query, pair or text: `query_id`, and `<output>/<metric>` for each metric.
        scores: One row per output and metric, as `write_scores` takes them.
        timings: One row per output that is searched.
    """

    columns: dict[str, Any]
    scores: list[dict[str, Any]]
    timings: list[dict[str, Any]]


def write_scores(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write scores.json to a folder.

    Args:
        folder: The folder of the score artifact.
        rows: One row per output and metric, with columns of scores.csv.
    """
    write_json(folder / FILE, {"schema": SCHEMA, "scores": rows})


def read_scores(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of scores.json from a folder; raise UserError for another version of the file."""
    content = read_json(folder / FILE)
    version = content.get("schema") if isinstance(content, dict) else 1
    if version != SCHEMA:
        raise UserError(
            f"{folder / FILE} has schema version {version}, but this version of qatlab reads {SCHEMA}; "
            f"remove {folder}, and run the study again"
        )
    rows: list[dict[str, Any]] = content["scores"]
    return rows


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean over queries; 0 for a single query."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
