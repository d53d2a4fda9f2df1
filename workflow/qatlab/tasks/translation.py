"""Translation tasks: the query is a text, and the document with the same id is its reference translation."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from qatlab.evaluation.task import Kind
from qatlab.registry import SOURCE_AND_TARGET, FullLine, HubSplit, Line, ParallelTexts, TwoColumns
from qatlab.tasks.task import TASKS, Loaded, Task, one_to_one

if TYPE_CHECKING:
    import pandas as pd

Value = Line | bool | int


class Translation(Task):
    """Base class of the translation tasks."""

    kind: ClassVar[Kind] = "translation"

    @abstractmethod
    def texts(self, name: str) -> "tuple[pd.DataFrame, str | None]":
        """Return a table with a column of texts and one of translations, and the hub commit (None for other sources)."""

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the texts as queries and the translations as documents."""
        texts, commit = self.texts(name)
        sides = [texts[column].tolist() for column in texts.columns]
        return Loaded("translation", *one_to_one(*sides), {"commit": commit} if commit else {})


@TASKS.register("numerals")
class NumeralTask(Translation):
    """Translation of numbers and dates in English words into French; none of the texts occurs in the training data."""

    source: Literal["numerals"]
    queries: Annotated[int, Field(gt=0, le=100_000, description="Number of distinct texts to generate.")] = 1000
    shuffle_seed: Annotated[
        int, Field(ge=0, lt=2**32, description="Random seed that decides which texts are generated.")
    ] = 0

    def origin(self) -> str:
        """Return a constant, because the fields alone determine the texts."""
        return "generated"

    def texts(self, name: str) -> "tuple[pd.DataFrame, None]":
        """Return generated texts of the test part, and None, since there is no hub commit."""
        import pandas as pd

        from qatlab.sources.numerals import pairs

        return pd.DataFrame(pairs("test", self.shuffle_seed, self.queries)), None


@TASKS.register("parallel")
class ParallelTask(ParallelTexts, Translation):
    """Translation of local texts; the reference is the same line of another file, another column, or the catalogue's message."""

    source: Literal["parallel"]

    def origin(self) -> dict[str, list[str]]:
        """Return the SHA-256 checksum of every file."""
        from qatlab.remembered import checked_files
        from qatlab.sources.parallel import load, local_paths

        paths = local_paths(self, "task.NAME")
        return checked_files(f"parallel texts {self.model_dump_json()}", paths, lambda: load(self, "task.NAME"))

    def texts(self, name: str) -> "tuple[pd.DataFrame, None]":
        """Return the texts and their translations, and None, since there is no hub commit."""
        from qatlab.sources.parallel import load

        return load(self, f"task.{name}"), None


@TASKS.register("hub_parallel")
class HubParallelTask(HubSplit, Translation):
    """Translation of texts of a hub data set."""

    source: Literal["hub_parallel"]
    columns: Annotated[
        TwoColumns,
        Field(
            description="Names of the columns of the texts and of their translations. COLUMN.KEY is a key of a column that holds "
            "dictionaries, as in translation.en."
        ),
    ] = SOURCE_AND_TARGET
    leave_out: Annotated[
        dict[FullLine, Value],
        Field(description="Rows to leave out, as column: value. A row that has the value in the column is left out."),
    ] = {}

    def texts(self, name: str) -> "tuple[pd.DataFrame, str | None]":
        """Return both columns of the split, and the hub commit."""
        from qatlab.hub import load_texts

        return load_texts(self.name, self.subset, self.split, self.revision, self.columns, self.leave_out, "task")
