"""Retrieval task that is read from a local folder in BEIR layout."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from qatlab.registry import LocalPath, Name
from qatlab.tasks.task import TASKS, Loaded, Task


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
        from qatlab.data.beir import check
        from qatlab.remembered import checked

        folder = Path(self.path).expanduser()
        return checked(f"BEIR {self.split}", folder, lambda: check(folder, self.split))

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the corpus, the queries and the judgements of the split; see `Task.load`."""
        from qatlab.data.beir import load

        return Loaded("retrieval", *load(Path(self.path).expanduser(), self.split))
