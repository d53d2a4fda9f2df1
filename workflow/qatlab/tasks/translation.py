"""Translation: the query is a text, and the document of the same id its reference translation."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from qatlab.base import FullLine, Line
from qatlab.config.fields import SOURCE_AND_TARGET, HubSplit, ParallelTexts, TwoColumns
from qatlab.config.kind import Kind
from qatlab.tasks.task import TASKS, Loaded, Task

if TYPE_CHECKING:
    import pandas as pd

Value = Line | bool | int


class Translation(Task):
    """Texts and their translations."""

    kind: ClassVar[Kind] = "translation"

    @abstractmethod
    def texts(self, name: str) -> "tuple[pd.DataFrame, str | None]":
        """Return two columns, texts and translations, and, of the hub, the commit that they are of."""

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return texts as queries and translations as documents."""
        from qatlab.data.counterparts import as_task

        texts, commit = self.texts(name)
        sides = [texts[column].tolist() for column in texts.columns]
        return Loaded("translation", *as_task(*sides), {"commit": commit} if commit else {})


@TASKS.register("numerals")
class NumeralTask(Translation):
    """Translate numbers and dates in words that training never sees, from English into French."""

    source: Literal["numerals"]
    queries: Annotated[int, Field(gt=0, le=100_000, description="Texts made, all of them different")] = 1000
    shuffle_seed: Annotated[int, Field(ge=0, lt=2**32, description="Which texts are made")] = 0

    def origin(self) -> str:
        """Return a constant: the fields alone decide the texts."""
        return "generated"

    def texts(self, name: str) -> "tuple[pd.DataFrame, None]":
        """Return texts of the part that is for testing."""
        import pandas as pd

        from qatlab.data.numerals import pairs

        return pd.DataFrame(pairs("test", self.shuffle_seed, self.queries)), None


@TASKS.register("parallel")
class ParallelTask(ParallelTexts, Translation):
    """Translate texts of your own; the reference is the same line of another file, another column, or the catalogue's message."""

    source: Literal["parallel"]

    def origin(self) -> dict[str, list[str]]:
        """Return the SHA-256 of every file."""
        from qatlab.data.checksums import checked_files
        from qatlab.data.parallel import load, local_paths

        paths = local_paths(self, "task.NAME")
        return checked_files(f"parallel texts {self.model_dump_json()}", paths, lambda: load(self, "task.NAME"))

    def texts(self, name: str) -> "tuple[pd.DataFrame, None]":
        """Return both sides."""
        from qatlab.data.parallel import load

        return load(self, f"task.{name}"), None


@TASKS.register("hub_parallel")
class HubParallelTask(HubSplit, Translation):
    """Translate texts of a data set of the hub."""

    source: Literal["hub_parallel"]
    columns: Annotated[
        TwoColumns, Field(description="COLUMN.KEY is a key of a column that holds dictionaries, as in translation.en")
    ] = SOURCE_AND_TARGET
    leave_out: Annotated[
        dict[FullLine, Value],
        Field(description="Rows that are left out: those that have such a value in such a column"),
    ] = {}

    def texts(self, name: str) -> "tuple[pd.DataFrame, str | None]":
        """Return both columns of the split, and its commit."""
        from qatlab.data.hub import load_texts

        return load_texts(self.name, self.subset, self.split, self.revision, self.columns, self.leave_out, "task")
