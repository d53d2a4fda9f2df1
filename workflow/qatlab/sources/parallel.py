"""Source of texts and their translations: two files line by line, two columns of a table, or message catalogues."""

from typing import TYPE_CHECKING, Literal

from qatlab.registry import ParallelTexts
from qatlab.sources.source import SOURCES, DataManifest, RowCounts, Source

if TYPE_CHECKING:
    import pandas as pd

    from qatlab.sources.files import Inspection


@SOURCES.register("parallel")
class Parallel(ParallelTexts, Source):
    """Texts and their translations as training data."""

    source: Literal["parallel"]

    def origin(self) -> dict[str, object]:
        """Return the SHA-256 checksum of every file."""
        return {"sha256": self._inspection().sha256}

    def counts(self) -> RowCounts | None:
        """Return the row counts of the files, or None if the files are very large."""
        return self._inspection().counts

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return a table with one column of texts and one of their translations, and None, since there is no hub commit.

        Raises:
            UserError: for missing files, different numbers of lines, or a text without a translation.
        """
        from qatlab.data.parallel import load

        return load(self, "data"), None

    def describe(self, manifest: DataManifest) -> str:
        """Return the packages of the message catalogues, or that the files are local, without paths, which may be private."""
        if self.packages:
            return f", messages of {', '.join(self.packages)} and their translations ({self.language})"
        return " of local files: texts and their translations"

    def _inspection(self) -> "Inspection":
        from qatlab.data.parallel import local_paths
        from qatlab.sources.files import inspect_files

        return inspect_files(self, local_paths(self, "data"))
