"""Sets of texts that are a column of a local file or of a hub data set."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from qatlab.errors import UserError
from qatlab.registry import FullLine, HubSplit, LocalPath
from qatlab.text_sets.text_set import TEXT_SETS, TextSet

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
        from qatlab.data.local import read_columns

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
