"""Pairs of texts that people scored for similarity, from a file of the user's own."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from qatlab.errors import UserError
from qatlab.evaluation.task import Kind
from qatlab.registry import FullLine, LocalPath
from qatlab.sources.readers import check_columns, read_columns, read_table
from qatlab.tasks.task import TASKS, Loaded, Task


def load(path: Path, columns: list[str], task: str) -> pd.DataFrame:
    """Load a table with one row per pair and the columns first, second (texts) and score (float).

    Args:
        path: the file, in a format of `qatlab.sources.readers.SUFFIXES`.
        columns: names of the columns of the first text, the second text and the score.
        task: name of the task in the study, for messages.

    Raises:
        UserError: for a missing file or column, an empty text, or a score that is not a finite number.
    """
    texts = read_columns(path, columns[:2], f"task.{task}.columns")
    table = read_table(path)
    check_columns(path, table, columns[2:], f"task.{task}.columns")
    scores = pd.to_numeric(table[columns[2]], errors="coerce").astype(float)
    wrong = scores.index[~np.isfinite(scores)]
    if len(wrong):
        value = table[columns[2]].loc[wrong[0]]
        raise UserError(
            f"{path}: column '{columns[2]}' has '{value}' in {table.index.name} {wrong[0]}, which is not a number ({len(wrong)} such rows)"
        )
    return pd.DataFrame({"first": texts[columns[0]], "second": texts[columns[1]], "score": scores}).reset_index(
        drop=True
    )


def as_task(pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return documents (the second texts), queries (the first texts) and judgements with the scores, paired by equal ids in order."""
    digits = len(str(len(pairs)))
    ids = [f"pair-{number:0{digits}}" for number in range(len(pairs))]
    return (
        pd.DataFrame({"id": ids, "text": pairs["second"].to_list()}),
        pd.DataFrame({"id": ids, "text": pairs["first"].to_list()}),
        pd.DataFrame({"query_id": ids, "doc_id": ids, "relevance": pairs["score"].to_list()}),
    )


@TASKS.register("pairs")
class ScoredPairs(Task):
    """Pairs of texts with human similarity scores in a CSV, TSV, JSON Lines or Parquet file."""

    kind: ClassVar[Kind] = "similarity"

    source: Literal["pairs"]
    path: Annotated[LocalPath, Field(description="Path of the file.")]
    columns: Annotated[
        list[FullLine],
        Field(
            min_length=3,
            max_length=3,
            description="Names of the columns of the first text, the second text and the score.",
        ),
    ] = ["sentence1", "sentence2", "score"]

    def origin(self) -> dict[str, object]:
        """Return the SHA-256 checksum of the file.

        Raises:
            UserError: for a missing column, or a score that is not a finite number.
        """
        from qatlab.remembered import checked

        path = Path(self.path).expanduser()
        return checked(f"pairs {self.columns}", path, lambda: load(path, self.columns, "NAME"))

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the first texts as queries, the second texts as documents, and their scores as relevance."""
        return Loaded("similarity", *as_task(load(Path(self.path).expanduser(), self.columns, name)))
