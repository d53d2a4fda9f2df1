"""Source files of installed packages, whole, to train language models on."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from qatlab.base import Name
from qatlab.config.fields import TEXT, Packages
from qatlab.sources.source import SOURCES, Source

if TYPE_CHECKING:
    import pandas as pd


@SOURCES.register("package_texts")
class PackageTexts(Source):
    """Source files of installed packages, whole (no network)."""

    source: Literal["package_texts"]
    packages: Packages
    held_out: Annotated[list[Name], Field(description="Packages whose files are removed wherever they reappear")] = []

    @property
    def columns(self) -> list[str]:
        """The columns that are written."""
        return [TEXT]

    def origin(self) -> dict[str, str]:
        """Return the version of every package read."""
        from qatlab.data.docstrings import package_version

        return {package: package_version(package) for package in sorted({*self.packages, *self.held_out})}

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return one file per row."""
        import pandas as pd

        from qatlab.data.package_texts import extract_all

        return pd.DataFrame({TEXT: extract_all(self.packages, self.held_out)}), None

    def describe(self, manifest: dict[str, Any]) -> str:
        """Name the packages and their versions."""
        packages = ", ".join(f"{name} {manifest['origin'][name]}" for name in self.packages)
        return f", the source files of Python packages: {packages}"
