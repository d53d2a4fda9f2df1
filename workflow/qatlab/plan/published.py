"""Figures of others' work (results/published/NAME.csv), checked before a study that shows them starts."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from qatlab.errors import UserError, unknown
from qatlab.tables.names import PUBLISHED_COLUMNS, PUBLISHED_TABLES


@dataclass(frozen=True)
class Published:
    """What a study's tables show beside its own figures.

    Attributes:
        file: of others' figures.
        stands_for: what names at this scale stand for in the file; see `compose.stands_for`.
    """

    file: Path
    stands_for: dict[str, dict[str, object]]


def published_file(conf: Path, name: str) -> Path:
    """Where they stand: beside the folder of configurations, in results/published."""
    return conf.parent / "results" / "published" / f"{name}.csv"


def check_published(conf: Path, name: str, matrix: list[str]) -> Path:
    """The file. Raises UserError for one that is not there, or whose columns or figures are not what a table can show.

    Args:
        matrix: the keys of the study's matrix; those besides method and seed may be columns.
    """
    path = published_file(conf, name)
    if not path.is_file():
        raise unknown("study.published", name, sorted(file.stem for file in path.parent.glob("*.csv")))
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(stream)
        columns = list(rows.fieldnames or [])
        _check_columns(path, columns, [key for key in matrix if key not in ("method", "seed")])
        for row in rows:
            _check_row(f"{path}, line {rows.line_num}", row)
    return path


def _check_columns(path: Path, columns: list[str], varied: list[str]) -> None:
    for column in PUBLISHED_COLUMNS:
        if column not in columns:
            raise UserError(f"{path} has no column '{column}'; it needs {', '.join(PUBLISHED_COLUMNS)}")
    for column in columns:
        if column not in (*PUBLISHED_COLUMNS, "note", *varied):
            raise UserError(
                f"{path}: column '{column}' is no key of the study's matrix; besides {', '.join(PUBLISHED_COLUMNS)} there can be "
                f"{', '.join(['note', *varied])}"
            )


def _check_row(where: str, row: dict[str, str]) -> None:
    if row["table"] not in PUBLISHED_TABLES:
        raise UserError(f"{where}: no table '{row['table']}'; valid: {', '.join(PUBLISHED_TABLES)}")
    if not row["source"]:
        raise UserError(f"{where}: a published figure needs its source")
    try:
        finite = not row["value"] or math.isfinite(float(row["value"]))
    except ValueError:
        finite = False
    if not finite:
        raise UserError(f"{where}: value is '{row['value']}', not a number (leave it empty where none is published)")
