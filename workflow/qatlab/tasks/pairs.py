"""Similarity task: pairs of texts with human similarity scores, from a local file."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from qatlab.evaluation.task import Kind
from qatlab.registry import FullLine, LocalPath
from qatlab.tasks.task import TASKS, Loaded, Task


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
        from qatlab.data.similarity_pairs import load
        from qatlab.remembered import checked

        path = Path(self.path).expanduser()
        return checked(f"pairs {self.columns}", path, lambda: load(path, self.columns, "NAME"))

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the first texts as queries, the second texts as documents, and their scores as relevance."""
        from qatlab.data.similarity_pairs import as_task, load

        return Loaded("similarity", *as_task(load(Path(self.path).expanduser(), self.columns, name)))
