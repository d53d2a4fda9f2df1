"""Sources of training data that read a stored table of pairs, tuples or texts: a local file, and a data set of the hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qatlab.registry import Columns, FullLine, HubColumns, HubSplit, LocalPath
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


@SOURCES.register("hub")
class HubDataset(HubSplit, Source):
    """One split of a data set of the Hugging Face hub."""

    source: Literal["hub"]
    split: FullLine = "train"
    columns: HubColumns = ["anchor", "positive"]

    def load(self) -> "tuple[pd.DataFrame, str | None]":
        """Return the text columns of the split, and the commit of the data set (None in offline mode).

        Raises:
            UserError: for an unknown data set, subset, split, revision or column, or if the hub cannot be reached.
        """
        from qatlab.hub import load_texts

        return load_texts(self.name, self.subset, self.split, self.revision, self.columns)

    def hub_ids(self) -> list[str]:
        """Return a list with the id of the data set."""
        return [self.name]

    def describe(self, manifest: DataManifest) -> str:
        """Return a Markdown link to the data set, with the commit that was read."""
        commit = f" at commit `{manifest.commit}`" if manifest.commit else ""
        return f" of [{self.name}](https://huggingface.co/datasets/{self.name}){commit}"
