"""Texts and their translations: two files line by line, two columns of a table, or message catalogues."""

from typing import TYPE_CHECKING, Any, Literal

from qatlab.config.fields import ParallelTexts
from qatlab.sources.source import SOURCES, Source

if TYPE_CHECKING:
    import pandas as pd


@SOURCES.register("parallel")
class Parallel(ParallelTexts, Source):
    """Texts and their translations to train on."""

    source: Literal["parallel"]

    def origin(self) -> dict[str, Any]:
        """Return the SHA-256 of every file."""
        return {"sha256": self._looked_at()["sha256"]}

    def counts(self) -> dict[str, Any] | None:
        """Count the rows, unless the files are very large."""
        return self._looked_at()["counts"]

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return texts and translations."""
        from qatlab.data.parallel import load

        return load(self, "data"), None

    def describe(self, manifest: dict[str, Any]) -> str:
        """Name the packages of message catalogues; the paths of files may be private."""
        if self.packages:
            return f", messages of {', '.join(self.packages)} and their translations ({self.language})"
        return " of local files: texts and their translations"

    def _looked_at(self) -> dict[str, Any]:
        from qatlab.data.parallel import local_paths
        from qatlab.sources.files import look_at

        return look_at(self, local_paths(self, "data"))
