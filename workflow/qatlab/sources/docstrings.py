"""Source of docstring → code pairs of installed packages, after the CodeSearchNet protocol (https://arxiv.org/abs/1909.09436)."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qatlab.registry import Name, Packages
from qatlab.sources.source import SOURCES, DataManifest, Source

if TYPE_CHECKING:
    import pandas as pd


@SOURCES.register("docstrings")
class Docstrings(Source):
    """Docstring → code pairs of installed packages, read without network access."""

    source: Literal["docstrings"]
    packages: Packages
    held_out: Annotated[
        list[Name],
        Field(
            description="Held-out packages. Their functions are removed from the training rows wherever they reappear."
        ),
    ] = []

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns that `load` returns."""
        return ["anchor", "positive"]

    def origin(self) -> dict[str, str]:
        """Return the version of every package that is read, by package name."""
        from qatlab.sources.packages import package_version

        return {package: package_version(package) for package in sorted({*self.packages, *self.held_out})}

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return the pairs of the training packages, except those whose summary or code also occurs in a held-out package.

        Returns:
            A table with the text columns anchor (docstring summary) and positive (code), without duplicate texts in either, and
            None, since there is no hub commit.

        Raises:
            UserError: if a package is not installed.
        """
        import pandas as pd

        from qatlab.sources.packages import extract

        held_out = [pair for package in self.held_out for pair in extract(package)]
        seen_summaries, seen_codes = {pair.summary for pair in held_out}, {pair.code for pair in held_out}
        rows = []
        for package in self.packages:
            for pair in extract(package):
                if pair.summary not in seen_summaries and pair.code not in seen_codes:
                    seen_summaries.add(pair.summary)
                    seen_codes.add(pair.code)
                    rows.append((pair.summary, pair.code))
        return pd.DataFrame(rows, columns=self.columns), None

    def describe(self, manifest: DataManifest) -> str:
        """Return the names and versions of the training packages as the end of a sentence."""
        packages = ", ".join(f"{name} {manifest.origin[name]}" for name in self.packages)
        return f", docstrings and code of Python packages: {packages}"
