"""Readers of files of the user's own: CSV, TSV and JSON Lines (plain or gzipped), Parquet, and plain lines of text."""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from qatlab.errors import UserError

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}

csv.field_size_limit(sys.maxsize)  # A field may be a whole document.


def read_lines(path: Path) -> Iterator[str]:
    r"""Yield the lines of a text file with their ends, \n or \r\n.

    Raises:
        UserError: if the file cannot be read, or is not UTF-8.
    """
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    yield (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).decode("utf-8")
                except UnicodeDecodeError:
                    raise UserError(f"{path}, line {number}: not UTF-8; save the file as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def without_end(line: str) -> str:
    r"""Return a line without the \n or \r\n at its end."""
    return line.removesuffix("\n").removesuffix("\r")


def numbered_records(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the line number and the object of each record of a JSON Lines file; raise a UserError for an invalid record."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield number, _record(line, f"{path}, line {number}")


def read_records(path: Path) -> list[dict[str, object]]:
    """Return all records of a JSON Lines file; raise a UserError for an invalid record."""
    return [record for _, record in numbered_records(path)]


def _record(line: str, place: str) -> dict[str, object]:
    try:
        record = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not JSON ({error.msg})") from None
    except ValueError as error:
        raise UserError(f"{place}: {error}") from None
    except RecursionError:
        raise UserError(f"{place}: nested too deep to be a record of texts") from None
    if not isinstance(record, dict):
        raise UserError(f"{place}: expected a JSON object, found {type(record).__name__}")
    if "\\u" in line and (half := _half_a_character(record)):
        raise UserError(f"{place}: {half} is half of a character (an unpaired surrogate), which is not text")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value; use null")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{twice}' occurs twice")
    return record


def _half_a_character(value: Any) -> str | None:
    r"""Return the first unpaired surrogate of any text in a record, as \udXXX, or None."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            return f"\\u{ord(value[error.start]):04x}"
        return None
    parts: Iterable[Any] = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return None
    return next((half for part in parts if (half := _half_a_character(part))), None)


def read_rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    r"""Yield the line number and the fields of each row that is not blank.

    Args:
        path: the file.
        separator: "," for CSV, or "\t" for TSV, which has no quoting.

    Raises:
        UserError: for unbalanced quotation marks, and for TSV fields that are evidently quoted.
    """
    if separator == "\t":
        for number, line in enumerate(read_lines(path), start=1):
            fields = without_end(line).split("\t")
            if any(_is_quoted(field) for field in fields):
                raise UserError(
                    f'{path}, line {number}: a field in quotes, with "" for a quotation mark in it; tab-separated files have no '
                    "quotes here: save this one as .csv, with commas"
                )
            if fields != [""]:
                yield number, fields
        return
    reader = csv.reader(read_lines(path), delimiter=separator, strict=True)
    number = 1
    try:
        for fields in reader:
            if fields:
                yield number, fields
            number = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {number}: quotation marks do not match ({error})") from None


def _is_quoted(field: str) -> bool:
    """Return whether a program quoted the field; a quotation mark at the start and the end alone is not evidence of that."""
    inner = field[1:-1]
    return len(field) > 2 and field[0] == field[-1] == '"' and '""' in inner and '"' not in inner.replace('""', "")


def _read_delimited(path: Path, separator: str) -> pd.DataFrame:
    rows = read_rows(path, separator)
    _, header = next(rows, (1, []))
    for column in header:
        if header.count(column) > 1:
            raise UserError(f"{path}: two columns are called '{column}'")
    lines, table = [], []
    for number, fields in rows:
        if len(fields) != len(header):
            hint = _other_separator(header, separator)
            if separator == "\t" and len(fields) < len(header) and not hint:
                hint = "; a text with a line break cannot be in a tab-separated file: save it as .csv or .jsonl"
            raise UserError(
                f"{path}, line {number}: {len(fields)} field{'s'[: len(fields) != 1]}, where the header has {len(header)}{hint}"
            )
        lines.append(number)
        table.append(fields)
    return pd.DataFrame(table, columns=header, index=pd.Index(lines, name="line", dtype="int64"), dtype="object")


def _other_separator(header: list[str], separator: str) -> str:
    """Return a hint if the header is a single column because the fields have another separator, else an empty string."""
    names = {",": "commas", **OTHER_SEPARATORS}
    kind = "csv" if separator == "," else "tsv"
    for other, name in names.items():
        if len(header) == 1 and other != separator and other in header[0]:
            return f"; fields of a .{kind} are separated by {names[separator]}, and its header has {name}"
    return ""


def _quoted(column: str) -> str:
    return f'"{column}"' if "," in column else column


def _quotes_needed(missing: str, header: list[str]) -> str:
    """Return a hint if the missing column is a part of a name with a comma, which was split at it, else an empty string."""
    for column in header:
        if "," in column and missing in map(str.strip, column.split(",")):
            return f"; a name with a comma needs quotes: [{_quoted(column)},…] in a file of conf/, \\\"['{column}',…]\\\" in overrides"
    return ""


def read_table(path: Path) -> pd.DataFrame:
    """Read a file as a table whose index, called line or row, is the number of each row in the file, from 1.

    Raises:
        UserError: if it cannot be read as the format of its suffix, or a row has more or fewer fields than the header.
    """
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise UserError(f"{path}: unknown file type; valid: {', '.join(SUFFIXES)}")
    if name.endswith(".parquet"):
        try:
            table = pq.read_table(path).to_pandas()
        except (ValueError, OSError) as error:
            raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
        return table.set_axis(pd.RangeIndex(1, len(table) + 1, name="row"))
    if name.endswith((".jsonl", ".jsonl.gz")):
        numbered = list(numbered_records(path))
        index = pd.Index([number for number, _ in numbered], name="line", dtype="int64")
        return pd.DataFrame([record for _, record in numbered], index=index)
    return _read_delimited(path, "\t" if name.endswith((".tsv", ".tsv.gz")) else ",")


def read_columns(path: Path, columns: list[str], key: str = "data.columns") -> pd.DataFrame:
    """Read text columns of a file, indexed by their line or row.

    Args:
        path: the file, in a format of `SUFFIXES`.
        columns: names of the columns.
        key: the configuration key that chooses the columns, for messages.

    Raises:
        UserError: for a missing file or column, no rows, or values that are empty or not texts.
    """
    if not path.is_file():
        raise UserError(f"data file '{path}' does not exist")
    table = read_table(path)
    check_columns(path, table, columns, key)
    for column in columns:
        broken = [place for place, value in table[column].items() if not isinstance(value, str) or not value.strip()]
        if broken:
            raise UserError(
                f"{path}: column '{column}' has no text in {table.index.name} {broken[0]} ({len(broken)} such rows)"
            )
    return table[columns]


def check_columns(path: Path, table: pd.DataFrame, columns: list[str], key: str) -> None:
    """Raise a UserError for a table without rows, or without one of the columns.

    Args:
        path: the file that the table was read from, for messages.
        table: the table.
        columns: names of the required columns.
        key: the configuration key that chooses the columns, for messages.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing and len(table.columns):
        header = [str(column) for column in table.columns]
        separator = "\t" if ".tsv" in path.name.lower() else ","
        raise UserError(
            f"{path}: no column '{missing[0]}'; the file has: {', '.join(map(_quoted, header))} (set {key} to the columns to use)"
            + _quotes_needed(missing[0], header)
            + (_other_separator(header, separator) if ".jsonl" not in path.name.lower() else "")
        )
    if table.empty:
        raise UserError(f"{path}: no rows")
