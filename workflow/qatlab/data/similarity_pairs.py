"""Pairs of texts that people have scored for how alike they are, from a file of the user's own."""

from pathlib import Path

import pandas as pd

from qatlab.data.local import read_columns, read_table
from qatlab.errors import UserError


def load(path: Path, columns: list[str], task: str) -> pd.DataFrame:
    """The columns first, second (texts) and score (float), a row a pair; raises UserError for what is not such a file."""
    texts = read_columns(path, columns[:2], f"task.{task}.columns")
    table = read_table(path)
    if columns[2] not in table.columns:
        raise UserError(
            f"{path}: no column '{columns[2]}'; the file has: {', '.join(map(str, table.columns))} "
            f"(task.{task}.columns says which are used)"
        )
    scores = pd.to_numeric(table[columns[2]], errors="coerce")
    if scores.isna().any():
        row = int(scores.isna().to_numpy().argmax())
        raise UserError(
            f"{path}: column '{columns[2]}' has no number in row {row + 1}, but '{table[columns[2]].iloc[row]}'"
        )
    return pd.DataFrame(
        {"first": texts[columns[0]], "second": texts[columns[1]], "score": scores.astype(float)}
    ).reset_index(drop=True)


def as_task(pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Documents (the second of each pair), queries (the first) and their scores, named alike in the order of the pairs."""
    digits = len(str(len(pairs)))
    ids = [f"pair-{number:0{digits}}" for number in range(len(pairs))]
    return (
        pd.DataFrame({"id": ids, "text": pairs["second"].to_list()}),
        pd.DataFrame({"id": ids, "text": pairs["first"].to_list()}),
        pd.DataFrame({"query_id": ids, "doc_id": ids, "relevance": pairs["score"].to_list()}),
    )
