"""Retrieval tasks of the user's own, as folders in BEIR layout."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from qatlab.base import LocalPath, Name
from qatlab.tasks.task import TASKS, Loaded, Task


@TASKS.register("local")
class BeirFolder(Task):
    """A folder in BEIR layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv."""

    source: Literal["local"]
    path: LocalPath
    split: Annotated[Name, Field(description="Which file of qrels/")] = "test"

    def origin(self) -> dict[str, Any]:
        """Return the folder's SHA-256 and how many documents it has."""
        from qatlab.data.beir import check
        from qatlab.data.checksums import checked

        folder = Path(self.path).expanduser()
        return checked(f"BEIR {self.split}", folder, lambda: check(folder, self.split))

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the corpus, the queries and the judgements of the split."""
        from qatlab.data.beir import load

        return Loaded("retrieval", *load(Path(self.path).expanduser(), self.split))
