"""Reader of held-out records: a query, its positives, and hard negatives that a model must rank below the positives."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qatlab.data.local import numbered_records
from qatlab.errors import UserError
from qatlab.registry import RecordKeys


@dataclass(frozen=True)
class Record:
    """One query with its positive and negative texts."""

    query: str
    positives: list[str]
    negatives: list[str]


def load(path: Path, keys: RecordKeys, mines: bool, task: str) -> list[Record]:
    """Load all records of a JSON Lines file.

    Args:
        path: the file.
        keys: names of the keys of query, positives and negatives.
        mines: whether negatives are mined for records that have none.
        task: name of the task in the study, for messages.

    Raises:
        UserError: for a missing file or key, empty texts, or records without negatives if none are mined.
    """
    if not path.is_file():
        raise UserError(f"task file '{path}' does not exist")
    placed = [(f"{path}, line {number}", record) for number, record in numbered_records(path)]
    return as_records(placed, keys, mines, str(path), task)


def as_records(
    rows: Iterable[tuple[str, dict[str, object]]], keys: RecordKeys, mines: bool, where: str, task: str
) -> list[Record]:
    """Convert dictionaries to records.

    Args:
        rows: pairs of a place (such as a file and line), for messages, and a dictionary.
        keys: names of the keys of query, positives and negatives.
        mines: whether negatives are mined for records that have none.
        where: the file or data set, for messages.
        task: name of the task in the study, for messages.

    Raises:
        UserError: for a missing key, empty texts, no records, or records without negatives if none are mined.
    """
    records = [_record(row, place, keys) for place, row in rows]
    if not records:
        raise UserError(f"{where}: no records")
    without = sum(not record.negatives for record in records)
    if without and not mines:
        raise UserError(
            f"{where}: {without} of {len(records)} records have no '{keys.negatives}'; "
            f"add them, or have them mined (task.{task}.mined.bm25=4 task.{task}.mined.model=4)"
        )
    return records


def _record(row: dict[str, object], where: str, keys: RecordKeys) -> Record:
    for key in (keys.query, keys.positive):
        if key not in row:
            raise UserError(f"{where}: no '{key}'; it has: {', '.join(row)}")
    query, positives = row[keys.query], _texts(row[keys.positive])
    negatives = [text for text in _texts(row.get(keys.negatives) or []) if text not in positives]
    texts = [query, *positives, *negatives]
    if not positives or not all(isinstance(text, str) and text.strip() for text in texts):
        raise UserError(f"{where}: queries, positives and negatives must be texts, and not empty")
    return Record(str(query), positives, list(dict.fromkeys(negatives)))


def _texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def as_task(records: list[Record]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return documents (each text once), queries, and judgements of all candidates: 1 for a positive, 0 for a negative."""
    texts = dict.fromkeys(text for record in records for text in (*record.positives, *record.negatives))
    names = {text: f"text-{number:0{len(str(len(texts)))}}" for number, text in enumerate(texts)}
    query_ids = [f"query-{number:0{len(str(len(records)))}}" for number in range(len(records))]
    judged = [
        (query, names[text], grade)
        for query, record in zip(query_ids, records, strict=True)
        for grade, side in ((1, record.positives), (0, record.negatives))
        for text in dict.fromkeys(side)
    ]
    return (
        pd.DataFrame([(name, text) for text, name in names.items()], columns=["id", "text"]),
        pd.DataFrame({"id": query_ids, "text": [record.query for record in records]}),
        pd.DataFrame(judged, columns=["query_id", "doc_id", "relevance"]),
    )
