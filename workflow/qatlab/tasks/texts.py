"""Language-modelling tasks: each text that the model predicts is both the query and the document of one id."""

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from qatlab.evaluation.task import Kind
from qatlab.registry import TEXT, FullLine, HubSplit, LocalPath, Name
from qatlab.tasks.task import TASKS, Loaded, Task, one_to_one


class LanguageModelling(Task):
    """Base class of the language-modelling tasks."""

    kind: ClassVar[Kind] = "language_modelling"

    @abstractmethod
    def texts(self, name: str) -> tuple[list[str], str | None]:
        """Return the texts, and the hub commit that they come from (None for other sources)."""

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return each text both as a query and as its document."""
        texts, commit = self.texts(name)
        return Loaded("language_modelling", *one_to_one(texts, texts), {"commit": commit} if commit else {})


@TASKS.register("package_texts")
class PackageTextTask(LanguageModelling):
    """Prediction of the whole source files of an installed package."""

    source: Literal["package_texts"]
    package: Annotated[Name, Field(description="Import name of an installed package, or 'stdlib'.")]
    queries: Annotated[
        int | None, Field(gt=0, description="Number of files to keep after shuffling; null keeps all.")
    ] = None

    def origin(self) -> dict[str, str]:
        """Return the version of the package, by its name."""
        from qatlab.sources.packages import package_version

        return {self.package: package_version(self.package)}

    def texts(self, name: str) -> tuple[list[str], None]:
        """Return the contents of the source files, and None, since there is no hub commit."""
        from qatlab.sources.packages import source_files

        return source_files(self.package), None


@TASKS.register("local_texts")
class LocalTextTask(LanguageModelling):
    """Prediction of the texts in one column of a CSV, TSV, JSON Lines or Parquet file."""

    source: Literal["local_texts"]
    path: Annotated[LocalPath, Field(description="Path of the file.")]
    column: Annotated[FullLine, Field(description="Name of the column that holds the texts.")] = TEXT

    def origin(self) -> dict[str, object]:
        """Return the SHA-256 checksum of the file."""
        from qatlab.remembered import checked
        from qatlab.sources.readers import read_columns

        path = Path(self.path).expanduser()
        return checked(f"texts {self.column}", path, lambda: read_columns(path, [self.column], "task.NAME.column"))

    def texts(self, name: str) -> tuple[list[str], None]:
        """Return the texts of the column, and None, since there is no hub commit."""
        from qatlab.sources.readers import read_columns

        table = read_columns(Path(self.path).expanduser(), [self.column], f"task.{name}.column")
        return table[self.column].tolist(), None


@TASKS.register("hub_texts")
class HubTextTask(HubSplit, LanguageModelling):
    """Prediction of the texts in one column of a hub data set."""

    source: Literal["hub_texts"]
    column: Annotated[FullLine, Field(description="Name of the column that holds the texts.")] = TEXT

    def texts(self, name: str) -> tuple[list[str], str | None]:
        """Return the texts of the column in the split, and the hub commit."""
        from qatlab.hub import load_texts

        table, commit = load_texts(self.name, self.subset, self.split, self.revision, [self.column], None, "task")
        return table.iloc[:, 0].tolist(), commit
