"""Language modelling: texts that are predicted; each is the query and the document of one id."""

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from qatlab.base import FullLine, LocalPath, Name
from qatlab.config.fields import TEXT, HubSplit
from qatlab.config.kind import Kind
from qatlab.tasks.task import TASKS, Loaded, Task


class LanguageModelling(Task):
    """Texts to predict."""

    kind: ClassVar[Kind] = "language_modelling"

    @abstractmethod
    def texts(self, name: str) -> tuple[list[str], str | None]:
        """Return the texts and, of the hub, the commit that they are of."""

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return each text as a query and as its document."""
        from qatlab.data.counterparts import as_task

        texts, commit = self.texts(name)
        return Loaded("language_modelling", *as_task(texts, texts), {"commit": commit} if commit else {})


@TASKS.register("package_texts")
class PackageTextTask(LanguageModelling):
    """Predict the source files of an installed package, whole."""

    source: Literal["package_texts"]
    package: Annotated[Name, Field(description="An installed package, or 'stdlib'")]
    queries: Annotated[int | None, Field(gt=0, description="Files kept after shuffling; null keeps all")] = None

    def origin(self) -> dict[str, str]:
        """Return the package's version."""
        from qatlab.data.docstrings import package_version

        return {self.package: package_version(self.package)}

    def texts(self, name: str) -> tuple[list[str], None]:
        """Return the files."""
        from qatlab.data.package_texts import extract

        return extract(self.package), None


@TASKS.register("local_texts")
class LocalTextTask(LanguageModelling):
    """Predict the texts of a column of a CSV, TSV, JSON Lines or Parquet file."""

    source: Literal["local_texts"]
    path: LocalPath
    column: Annotated[FullLine, Field(description="The column that holds the texts")] = TEXT

    def origin(self) -> dict[str, Any]:
        """Return the file's SHA-256."""
        from qatlab.data.checksums import checked
        from qatlab.data.local import read_columns

        path = Path(self.path).expanduser()
        return checked(f"texts {self.column}", path, lambda: read_columns(path, [self.column], "task.NAME.column"))

    def texts(self, name: str) -> tuple[list[str], None]:
        """Return the column."""
        from qatlab.data.local import read_columns

        table = read_columns(Path(self.path).expanduser(), [self.column], f"task.{name}.column")
        return table[self.column].tolist(), None


@TASKS.register("hub_texts")
class HubTextTask(HubSplit, LanguageModelling):
    """Predict the texts of a column of a data set of the hub."""

    source: Literal["hub_texts"]
    column: Annotated[FullLine, Field(description="The column that holds the texts")] = TEXT

    def texts(self, name: str) -> tuple[list[str], str | None]:
        """Return the column of the split, and its commit."""
        from qatlab.data.hub import load_texts

        table, commit = load_texts(self.name, self.subset, self.split, self.revision, [self.column], None, "task")
        return table.iloc[:, 0].tolist(), commit
