"""Source of training data that reads a local file with a table of pairs, tuples or texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qatlab.registry import Columns, LocalPath
from qatlab.sources.source import SOURCES, DataManifest, RowCounts, Source, inspect_files

if TYPE_CHECKING:
    import pandas as pd

    from qatlab.sources.source import Inspection


@SOURCES.register("local")
class LocalFile(Source):
    """Local CSV, TSV, JSON Lines or Parquet file."""

    source: Literal["local"]
    path: Annotated[LocalPath, Field(description="Path of the file. A relative path starts at the working directory.")]
    columns: Columns = ["anchor", "positive"]

    @property
    def file(self) -> Path:
        """Return the path of the file, in which ~ is replaced by the user's home directory."""
        return Path(self.path).expanduser()

    def origin(self) -> dict[str, object]:
        """Return the SHA-256 checksum of the file."""
        return {"sha256": self._inspection().sha256[0]}

    def counts(self) -> RowCounts | None:
        """Return the row counts of the file, or None if the file is very large."""
        return self._inspection().counts

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return the configured columns of the file, and None, since there is no hub commit.

        Raises:
            UserError: for a missing file or column, no rows, or an empty text.
        """
        from qatlab.sources.readers import read_columns

        return read_columns(self.file, self.columns), None

    def describe(self, manifest: DataManifest) -> str:
        """Return that the rows are of a local file, without its path, which may be private."""
        return " of a local file"

    def _inspection(self) -> "Inspection":

        return inspect_files(self, [self.file])
