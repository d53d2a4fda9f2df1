"""Files of the user's own: CSV, TSV, JSON Lines (both also gzipped) and Parquet."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from qatlab.errors import UserError

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz")


def read_records(path: Path) -> list[dict[str, Any]]:
    r"""Records of a JSON Lines file. Lines end at \n only: texts may hold U+2028 and U+0085."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
        lines = stream.read().decode("utf-8").split("\n")
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error.msg})") from None
        except RecursionError:
            raise UserError(f"{path}, line {number}: nested too deep to be a record of texts") from None
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object, found {type(record).__name__}")
        records.append(record)
    return records


def read_table(path: Path) -> pd.DataFrame:
    """The file as a table; raises UserError when it cannot be read as what its name says."""
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise UserError(f"{path}: unknown file type; valid: {', '.join(SUFFIXES)}")
    try:
        if name.endswith(".parquet"):
            return pq.read_table(path).to_pandas()
        if ".jsonl" in name:
            return pd.DataFrame(read_records(path))
        separator = "\t" if ".tsv" in name else ","
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None


def read_columns(path: Path, columns: list[str], key: str = "data.columns") -> pd.DataFrame:
    """Text columns of a file; raises UserError for a missing file or column, no rows, or values that are not texts.

    Args:
        key: the configuration key that says which columns are used.
    """
    if not path.is_file():
        raise UserError(f"data file '{path}' does not exist")
    table = read_table(path)
    missing = [column for column in columns if column not in table.columns]
    if missing and len(table.columns):
        raise UserError(
            f"{path}: no column '{missing[0]}'; the file has: {', '.join(map(str, table.columns))} ({key} says which are used)"
        )
    if table.empty:
        raise UserError(f"{path}: no rows")
    for column in columns:
        broken = [index for index, value in enumerate(table[column]) if not isinstance(value, str) or not value.strip()]
        if broken:
            raise UserError(f"{path}: column '{column}' has no text in row {broken[0] + 1} ({len(broken)} such rows)")
    return table[columns]
