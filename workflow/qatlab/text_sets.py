"""Base class and registry of sets of texts that are only embedded, and the sets of qatlab itself."""

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from qatlab.errors import UserError
from qatlab.registry import FullLine, HubSplit, LocalPath, Name, Registered, Registry

Rows = Annotated[
    int | None,
    Field(gt=0, description="Number of texts to take, from the first on in their stored order; null takes all."),
]


class TextSet(Registered):
    """Base class of the sets of texts. A configuration chooses one by `texts.NAME.source`."""

    source: str
    rows: Rows = None

    @abstractmethod
    def load(self, name: str) -> tuple[list[str], str | None]:
        """Return all texts, and the hub commit that they come from (None for other sources).

        Args:
            name: name of the set in the study, for messages.

        Raises:
            UserError: if the texts cannot be read.
        """


TEXT_SETS: Registry[type[TextSet]] = Registry("source of texts", "qatlab.text_sets")


@TEXT_SETS.register("docstrings")
class DocstringTexts(TextSet):
    """Functions of an installed package, without their docstrings."""

    source: Literal["docstrings"]
    package: Annotated[Name, Field(description="Import name of an installed package, or 'stdlib'.")]

    def origin(self) -> dict[str, str]:
        """Return the version of the package, by its name."""
        from qatlab.sources.packages import package_version

        return {self.package: package_version(self.package)}

    def load(self, name: str) -> tuple[list[str], None]:
        """Return the code of the functions, and None, since there is no hub commit."""
        from qatlab.sources.packages import extract

        return [pair.code for pair in extract(self.package)], None


Column = Annotated[FullLine, Field(description="Name of the column that holds the texts.")]


@TEXT_SETS.register("local")
class LocalTexts(TextSet):
    """Texts in one column of a CSV, TSV, JSON Lines or Parquet file."""

    source: Literal["local"]
    path: Annotated[LocalPath, Field(description="Path of the file.")]
    column: Column = "text"

    def origin(self) -> dict[str, object]:
        """Return the SHA-256 checksum of the file."""
        from qatlab.remembered import checked

        return checked(f"texts {self.column}", Path(self.path).expanduser(), lambda: self.load("NAME"), "texts")

    def load(self, name: str) -> tuple[list[str], None]:
        """Return the texts of the column, and None, since there is no hub commit."""
        from qatlab.sources.readers import read_columns

        table = read_columns(Path(self.path).expanduser(), [self.column], f"texts.{name}.column")
        return table[self.column].tolist(), None


@TEXT_SETS.register("hub")
class HubTexts(HubSplit, TextSet):
    """Texts in one column of a data set of the Hugging Face hub."""

    source: Literal["hub"]
    split: FullLine = "train"
    column: Column = "text"

    def load(self, name: str) -> tuple[list[str], str | None]:
        """Return the texts of the column in the split, and the hub commit."""
        from qatlab.hub import load_split

        table, commit = load_split(self.name, self.subset, self.split, self.revision, "texts")
        if self.column not in table.columns:
            raise UserError(f"texts '{name}': no column '{self.column}'; '{self.name}' has: {', '.join(table.columns)}")
        return table[self.column].tolist(), commit
