"""Records withheld from training: a query, its positives, and hard negatives that it must be told from."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qatlab.config.fields import RecordKeys
from qatlab.data.local import numbered_records
from qatlab.errors import UserError


@dataclass(frozen=True)
class Record:
    """One query with the texts that it is compared with."""

    query: str
    positives: list[str]
    negatives: list[str]


def load(path: Path, keys: RecordKeys, mines: bool, task: str) -> list[Record]:
    """All records of a JSON Lines file.

    Raises:
        UserError: for a missing file or key, texts that are none, or records without negatives where none are mined.
    """
    if not path.is_file():
        raise UserError(f"task file '{path}' does not exist")
    placed = [(f"{path}, line {number}", record) for number, record in numbered_records(path)]
    return as_records(placed, keys, mines, str(path), task)


def as_records(
    found: Iterable[tuple[str, dict[str, Any]]], keys: RecordKeys, mines: bool, where: str, task: str
) -> list[Record]:
    """Records of what is read, a dictionary each.

    Args:
        found: the place of each, for messages, and the dictionary.
        mines: whether negatives are mined where records have none.
        where: the file or data set, for messages.

    Raises:
        UserError: for a missing key, texts that are none, no records, or records without negatives where none are mined.
    """
    records = [_record(each, place, keys) for place, each in found]
    if not records:
        raise UserError(f"{where}: no records")
    without = sum(not record.negatives for record in records)
    if without and not mines:
        raise UserError(
            f"{where}: {without} of {len(records)} records have no '{keys.negatives}'; "
            f"add them, or have them mined (task.{task}.mined.bm25=4 task.{task}.mined.model=4)"
        )
    return records


def _record(found: dict[str, Any], where: str, keys: RecordKeys) -> Record:
    for key in (keys.query, keys.positive):
        if key not in found:
            raise UserError(f"{where}: no '{key}'; it has: {', '.join(found)}")
    query, positives = found[keys.query], _texts(found[keys.positive])
    negatives = [text for text in _texts(found.get(keys.negatives) or []) if text not in positives]
    texts = [query, *positives, *negatives]
    if not positives or not all(isinstance(text, str) and text.strip() for text in texts):
        raise UserError(f"{where}: queries, positives and negatives must be texts, and not empty")
    return Record(query, positives, list(dict.fromkeys(negatives)))


def _texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def as_task(records: list[Record]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Documents (each text once), queries, and candidates: 1 for a positive, 0 for a negative."""
    texts = dict.fromkeys(text for record in records for text in (*record.positives, *record.negatives))
    names = {text: f"text-{number:0{len(str(len(texts)))}}" for number, text in enumerate(texts)}
    asked = [f"query-{number:0{len(str(len(records)))}}" for number in range(len(records))]
    judged = [
        (query, names[text], grade)
        for query, record in zip(asked, records, strict=True)
        for grade, side in ((1, record.positives), (0, record.negatives))
        for text in dict.fromkeys(side)
    ]
    return (
        pd.DataFrame([(name, text) for text, name in names.items()], columns=["id", "text"]),
        pd.DataFrame({"id": asked, "text": [record.query for record in records]}),
        pd.DataFrame(judged, columns=["query_id", "doc_id", "relevance"]),
    )
