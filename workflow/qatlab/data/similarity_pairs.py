"""Pairs of texts that people have scored for how alike they are, from a file of the user's own."""

from pathlib import Path

import numpy as np
import pandas as pd

from qatlab.data.local import check_columns, read_columns, read_table
from qatlab.errors import UserError


def load(path: Path, columns: list[str], task: str) -> pd.DataFrame:
    """The columns first, second (texts) and score (float), a row a pair; raises UserError for what is not such a file."""
    texts = read_columns(path, columns[:2], f"task.{task}.columns")
    table = read_table(path)
    check_columns(path, table, columns[2:], f"task.{task}.columns")
    scores = pd.to_numeric(table[columns[2]], errors="coerce").astype(float)
    wrong = scores.index[~np.isfinite(scores)]
    if len(wrong):
        value = table[columns[2]].loc[wrong[0]]
        raise UserError(
            f"{path}: column '{columns[2]}' has no number in {table.index.name} {wrong[0]}, but '{value}' ({len(wrong)} such rows)"
        )
    return pd.DataFrame({"first": texts[columns[0]], "second": texts[columns[1]], "score": scores}).reset_index(
        drop=True
    )


def as_task(pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Documents (the second of each pair), queries (the first) and their scores, named alike in the order of the pairs."""
    digits = len(str(len(pairs)))
    ids = [f"pair-{number:0{digits}}" for number in range(len(pairs))]
    return (
        pd.DataFrame({"id": ids, "text": pairs["second"].to_list()}),
        pd.DataFrame({"id": ids, "text": pairs["first"].to_list()}),
        pd.DataFrame({"query_id": ids, "doc_id": ids, "relevance": pairs["score"].to_list()}),
    )
