"""Pairs of texts that people scored for similarity."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from qatlab.base import FullLine, LocalPath
from qatlab.config.kind import Kind
from qatlab.tasks.task import TASKS, Loaded, Task


@TASKS.register("pairs")
class ScoredPairs(Task):
    """Pairs of texts and how alike people found them: a CSV, TSV, JSON Lines or Parquet file."""

    kind: ClassVar[Kind] = "similarity"

    source: Literal["pairs"]
    path: LocalPath
    columns: Annotated[
        list[FullLine], Field(min_length=3, max_length=3, description="The two texts and their score, by column")
    ] = ["sentence1", "sentence2", "score"]

    def origin(self) -> dict[str, Any]:
        """Return the file's SHA-256."""
        from qatlab.data.checksums import checked
        from qatlab.data.similarity_pairs import load

        path = Path(self.path).expanduser()
        return checked(f"pairs {self.columns}", path, lambda: load(path, self.columns, "NAME"))

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the first texts as queries, the second as documents, and their scores."""
        from qatlab.data.similarity_pairs import as_task, load

        return Loaded("similarity", *as_task(load(Path(self.path).expanduser(), self.columns, name)))
