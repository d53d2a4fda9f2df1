"""Published results of other work (results/published/NAME.csv), checked before a study that shows them starts."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from qatlab.errors import UserError, unknown
from qatlab.tables.names import PUBLISHED_COLUMNS, PUBLISHED_TABLES


@dataclass(frozen=True)
class Published:
    """Published results that a study's tables show beside its own.

    Attributes:
        file: CSV file of the published results.
        stands_for: names in the file by the name at this scale; see `compose.stands_for`.
    """

    file: Path
    stands_for: dict[str, dict[str, object]]


def published_file(conf: Path, name: str) -> Path:
    """Return the path of a file of published results: in results/published, beside the folder of configurations."""
    return conf.parent / "results" / "published" / f"{name}.csv"


def check_published(conf: Path, name: str, matrix: list[str]) -> Path:
    """Check a file of published results, and return its path.

    Args:
        conf: folder of the configuration files.
        name: name of the file, without .csv.
        matrix: keys of the study's matrix; those besides method and seed may be columns.

    Raises:
        UserError: for a missing file, or one whose columns or values a table cannot show.
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
                f"{path}: column '{column}' is not a key of the study's matrix; besides {', '.join(PUBLISHED_COLUMNS)}, a file can have "
                f"{', '.join(['note', *varied])}"
            )


def _check_row(where: str, row: dict[str, str]) -> None:
    if row["table"] not in PUBLISHED_TABLES:
        raise UserError(f"{where}: no table '{row['table']}'; valid: {', '.join(PUBLISHED_TABLES)}")
    if not row["source"]:
        raise UserError(f"{where}: a published result needs a source")
    try:
        finite = not row["value"] or math.isfinite(float(row["value"]))
    except ValueError:
        finite = False
    if not finite:
        raise UserError(f"{where}: value is '{row['value']}', not a number (leave it empty where none is published)")
