"""Source of training data for language models: whole source files of installed packages."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qatlab.registry import TEXT, Name, Packages
from qatlab.sources.source import SOURCES, DataManifest, Source

if TYPE_CHECKING:
    import pandas as pd


@SOURCES.register("package_texts")
class PackageTexts(Source):
    """Whole source files of installed packages, read without network access."""

    source: Literal["package_texts"]
    packages: Packages
    held_out: Annotated[
        list[Name],
        Field(description="Held-out packages. Their files are removed from the training rows wherever they reappear."),
    ] = []

    @property
    def columns(self) -> list[str]:
        """Return the name of the only column that `load` returns."""
        return [TEXT]

    def origin(self) -> dict[str, str]:
        """Return the version of every package that is read, by package name."""
        from qatlab.sources.packages import package_version

        return {package: package_version(package) for package in sorted({*self.packages, *self.held_out})}

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return a table with one source file per row, and None, since there is no hub commit.

        Raises:
            UserError: if a package is not installed.
        """
        import pandas as pd

        from qatlab.sources.packages import source_files_of_all

        return pd.DataFrame({TEXT: source_files_of_all(self.packages, self.held_out)}), None

    def describe(self, manifest: DataManifest) -> str:
        """Return the names and versions of the training packages as the end of a sentence."""
        packages = ", ".join(f"{name} {manifest.origin[name]}" for name in self.packages)
        return f", the source files of Python packages: {packages}"
