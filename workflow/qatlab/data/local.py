r"""Files of the user's own: CSV, TSV and JSON Lines (plain or gzipped), Parquet, and plain lines of text.

Every row of a file is read, or the file is refused with the line that cannot be. All text is UTF-8, with or without a
byte-order mark, and lines end at \n or \r\n only: texts may hold U+2028 and U+0085.

CSV is quoted as RFC 4180 says. TSV has no quotes, as MS MARCO and Spark's text output have it: a quotation mark is one.
"""

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

csv.field_size_limit(sys.maxsize)  # a field may be a whole document


def read_lines(path: Path) -> Iterator[str]:
    r"""Yield the lines of a text file with their ends, \n or \r\n. Raises UserError for what cannot be read as UTF-8."""
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
    r"""A line without its \n or \r\n."""
    return line.removesuffix("\n").removesuffix("\r")


def numbered_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line and the object of each record of a JSON Lines file. Raises UserError for what is none."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield number, _record(line, f"{path}, line {number}")


def read_records(path: Path) -> list[dict[str, Any]]:
    """All records of a JSON Lines file. Raises UserError for what is none."""
    return [record for _, record in numbered_records(path)]


def _record(line: str, place: str) -> dict[str, Any]:
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
        raise UserError(f"{place}: {half} is half of a character (a surrogate without the other one), which is no text")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no value of JSON; null is")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{twice}' is there twice")
    return found


def _half_a_character(value: Any) -> str | None:
    r"""The first lone surrogate of any text in a record, as \udXXX."""
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
    r"""Yield the line and the fields of each row that is not blank: of CSV (separator ","), or of TSV ("\t"), which has no quotes.

    Raises:
        UserError: for quotes that do not match, and in TSV for fields that are plainly quoted.
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
    """Whether a program wrote it that quotes fields; a text that begins and ends with a quotation mark is no sign of that."""
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
    """What to say of a header that is one column because fields are separated by something else; or nothing."""
    names = {",": "commas", **OTHER_SEPARATORS}
    kind = "csv" if separator == "," else "tsv"
    for other, name in names.items():
        if len(header) == 1 and other != separator and other in header[0]:
            return f"; fields of a .{kind} are separated by {names[separator]}, and its header has {name}"
    return ""


def read_table(path: Path) -> pd.DataFrame:
    """The file as a table whose index, called line or row, is the place of each row in it, from 1.

    Raises:
        UserError: when it cannot be read as what its name says, or a row has more or fewer fields than the header.
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
    """Text columns of a file, indexed by their line or row.

    Args:
        key: the configuration key that says which columns are used.

    Raises:
        UserError: for a missing file or column, no rows, or values that are not texts.
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
    """Raises UserError for a table without rows, or without one of the columns.

    Args:
        key: the configuration key that says which columns are used.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing and len(table.columns):
        header = [str(column) for column in table.columns]
        separator = "\t" if ".tsv" in path.name.lower() else ","
        raise UserError(
            f"{path}: no column '{missing[0]}'; the file has: {', '.join(header)} ({key} says which are used)"
            + (_other_separator(header, separator) if ".jsonl" not in path.name.lower() else "")
        )
    if table.empty:
        raise UserError(f"{path}: no rows")
