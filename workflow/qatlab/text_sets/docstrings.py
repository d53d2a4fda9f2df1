"""The functions of an installed package as a set of texts."""

from typing import Annotated, Literal

from pydantic import Field

from qatlab.base import Name
from qatlab.text_sets.text_set import TEXT_SETS, TextSet


@TEXT_SETS.register("docstrings")
class DocstringTexts(TextSet):
    """The functions of an installed package, without their docstrings."""

    source: Literal["docstrings"]
    package: Annotated[Name, Field(description="An installed package, or 'stdlib'")]

    def origin(self) -> dict[str, str]:
        """Return the package's version."""
        from qatlab.data.docstrings import package_version

        return {self.package: package_version(self.package)}

    def load(self, name: str) -> tuple[list[str], None]:
        """Return the functions' code."""
        from qatlab.data.docstrings import extract

        return [pair.code for pair in extract(self.package)], None
