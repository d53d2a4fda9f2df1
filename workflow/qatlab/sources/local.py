"""Files of the user's own: a table of pairs, tuples or texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from qatlab.base import LocalPath
from qatlab.config.fields import Columns
from qatlab.sources.source import SOURCES, Source

if TYPE_CHECKING:
    import pandas as pd


@SOURCES.register("local")
class LocalFile(Source):
    """A CSV, TSV, JSON Lines or Parquet file."""

    source: Literal["local"]
    path: Annotated[LocalPath, Field(description="The file; relative paths start at the working directory")]
    columns: Columns = ["anchor", "positive"]

    @property
    def file(self) -> Path:
        """The path, with the user's home for ~."""
        return Path(self.path).expanduser()

    def origin(self) -> dict[str, Any]:
        """Return the file's SHA-256."""
        return {"sha256": self._looked_at()["sha256"][0]}

    def counts(self) -> dict[str, Any] | None:
        """Count the rows, unless the file is very large."""
        return self._looked_at()["counts"]

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return the columns of the file."""
        from qatlab.data.local import read_columns

        return read_columns(self.file, self.columns), None

    def describe(self, manifest: dict[str, Any]) -> str:
        """Say that it is a local file; its path may be private."""
        return " of a local file"

    def _looked_at(self) -> dict[str, Any]:
        from qatlab.sources.files import look_at

        return look_at(self, [self.file])
