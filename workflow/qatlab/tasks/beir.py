"""Retrieval tasks in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv (Thakur et al. 2021)."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field

from qatlab.errors import UserError
from qatlab.registry import LocalPath, Name
from qatlab.sources.readers import numbered_records, read_rows
from qatlab.tasks.task import TASKS, Loaded, Task

TREC_COLUMNS = 4


def check_layout(folder: Path, split: str) -> None:
    """Raise a UserError if the folder or a file of the layout is missing."""
    if not folder.is_dir():
        raise UserError(f"task folder '{folder}' does not exist")
    for relative in ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv"):
        if not (folder / relative).is_file():
            raise UserError(
                f"task folder '{folder}' has no {relative}; BEIR layout is corpus.jsonl, queries.jsonl, qrels/{split}.tsv"
            )


def load(folder: Path, split: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Load a task: documents (id, text), queries (id, text) and judgements (query_id, doc_id, relevance).

    A document's text is its title and its text with a blank between them, as BEIR's own loader joins them; one of the two
    may be missing.

    Raises:
        UserError: for a missing file, and for an invalid id, text or judgement, with its line.
    """
    check_layout(folder, split)
    documents = [
        (_id(record, place), _document(record, place)) for place, record in _located_records(folder / "corpus.jsonl")
    ]
    queries = [
        (_id(record, place), _query(record, place)) for place, record in _located_records(folder / "queries.jsonl")
    ]
    return (
        pd.DataFrame(documents, columns=["id", "text"]),
        pd.DataFrame(queries, columns=["id", "text"]),
        _judgements(folder / f"qrels/{split}.tsv"),
    )


def check(folder: Path, split: str) -> dict[str, int]:
    """Check a task and return its numbers of documents and queries.

    Raises:
        UserError: if `load` fails, an id is not unique, a judgement refers to an unknown id, or no document is relevant.
    """
    documents, queries, judgements = load(folder, split)
    qrels = folder / f"qrels/{split}.tsv"
    for file, table, kind, column in (
        ("corpus.jsonl", documents, "document", "doc_id"),
        ("queries.jsonl", queries, "query", "query_id"),
    ):
        duplicates = table.loc[table["id"].duplicated(), "id"]
        if len(duplicates):
            raise UserError(
                f"{folder / file}: _id '{duplicates.iloc[0]}' occurs more than once ({len(duplicates)} such ids); ids must be unique"
            )
        if table.empty:
            raise UserError(f"{folder / file}: no rows")
        unknown = judgements.loc[~judgements[column].isin(set(table["id"])), column]
        if len(unknown):
            raise UserError(
                f"{qrels}: judges {kind} '{unknown.iloc[0]}', which {file} does not hold ({unknown.nunique()} such)"
            )
    if not (judgements["relevance"] > 0).any():
        raise UserError(f"{qrels}: no query has a relevant document, which is one with a score above 0")
    return {"documents": len(documents), "queries": len(queries)}


def _located_records(path: Path) -> list[tuple[str, dict[str, object]]]:
    return [(f"{path}, line {number}", record) for number, record in numbered_records(path)]


def _id(record: dict[str, object], place: str) -> str:
    """Return the id of a record as a string; raise a UserError unless it is a non-empty text or an integer."""
    if "_id" not in record:
        hint = ", but 'id': BEIR calls it _id" if "id" in record else f"; it has: {', '.join(record)}"
        raise UserError(f"{place}: no '_id'{hint}")
    value = record["_id"]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise UserError(f"{place}: _id is {_describe(value)}; it must be a text or an integer")
    return str(value)


def _document(record: dict[str, object], place: str) -> str:
    for key in ("title", "text"):
        if not isinstance(record.get(key), str | None):
            raise UserError(f"{place}: {key} is {_describe(record[key])}; it must be a text")
    title, text = record.get("title"), record.get("text")
    if text is None and not title:
        has = "text is null" if "text" in record else f"no 'text'; it has: {', '.join(record)}"
        raise UserError(f"{place}: {has}")
    return " ".join(str(part) for part in (title, text) if part)


def _query(record: dict[str, object], place: str) -> str:
    text = record.get("text")
    if not isinstance(text, str) or not text.strip():
        has = f"text is {_describe(text)}" if "text" in record else f"no 'text'; it has: {', '.join(record)}"
        raise UserError(f"{place}: {has}; a query must be a text, and not empty")
    return text


def _describe(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return {None: "null", "": "empty"}.get(value, repr(value))


def _judgements(path: Path) -> pd.DataFrame:
    """Return the judgements of a file with three columns, with a header (as in BEIR) or without one."""
    rows: list[tuple[str, str, int]] = []
    judged: dict[tuple[str, str], tuple[int, int]] = {}  # grade of each pair, and the line of its first judgement
    for position, (number, fields) in enumerate(read_rows(path, "\t")):
        if len(fields) != 3:
            raise UserError(f"{path}, line {number}: {_wrong_columns(fields)}")
        query, document, score = fields
        if position == 0 and not _is_number(score):
            continue  # It is the header.
        grade = _grade(score)
        if grade is None:
            raise UserError(f"{path}, line {number}: score '{score}' is not an integer")
        before, line = judged.setdefault((query, document), (grade, number))
        if before != grade:
            raise UserError(
                f"{path}, line {number}: document '{document}' has grade {grade} for query '{query}', but {before} in line {line}"
            )
        rows.append((query, document, grade))
    return pd.DataFrame(rows, columns=["query_id", "doc_id", "relevance"])


def _wrong_columns(fields: list[str]) -> str:
    needed = "three are needed, query-id, corpus-id and score, separated by tabs"
    if len(fields) == 1 and len(fields[0].split()) > 1:
        words = fields[0].split()
        trec = " (TREC's format, with query, iteration, document and relevance?)" * (len(words) == TREC_COLUMNS)
        return f"one column{trec}; {needed}"
    trec = " (TREC's, with query, iteration, document and relevance?)" * (len(fields) == TREC_COLUMNS)
    return f"{len(fields)} column{'s'[: len(fields) != 1]}{trec}; {needed}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _grade(score: str) -> int | None:
    """Return the integer that a text such as 2 or 2.0 represents, or None if it does not represent one."""
    number = float(score) if _is_number(score) else math.nan
    return int(number) if math.isfinite(number) and number == round(number) else None


@TASKS.register("local")
class BeirFolder(Task):
    """Folder in BEIR layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv."""

    source: Literal["local"]
    path: Annotated[LocalPath, Field(description="Path of the folder.")]
    split: Annotated[Name, Field(description="Name of the judgement file in qrels/, without .tsv.")] = "test"

    def origin(self) -> dict[str, object]:
        """Return the SHA-256 checksum of the folder and its numbers of documents and queries.

        Raises:
            UserError: if the folder is not a valid task.
        """
        from qatlab.remembered import checked

        folder = Path(self.path).expanduser()
        return checked(f"BEIR {self.split}", folder, lambda: check(folder, self.split))

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the corpus, the queries and the judgements of the split; see `Task.load`."""
        return Loaded("retrieval", *load(Path(self.path).expanduser(), self.split))
