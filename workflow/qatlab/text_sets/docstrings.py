"""Set of texts that consists of the functions of an installed package."""

from typing import Annotated, Literal

from pydantic import Field

from qatlab.registry import Name
from qatlab.text_sets.text_set import TEXT_SETS, TextSet


@TEXT_SETS.register("docstrings")
class DocstringTexts(TextSet):
    """Functions of an installed package, without their docstrings."""

    source: Literal["docstrings"]
    package: Annotated[Name, Field(description="Import name of an installed package, or 'stdlib'.")]

    def origin(self) -> dict[str, str]:
        """Return the version of the package, by its name."""
        from qatlab.data.docstrings import package_version

        return {self.package: package_version(self.package)}

    def load(self, name: str) -> tuple[list[str], None]:
        """Return the code of the functions, and None, since there is no hub commit."""
        from qatlab.data.docstrings import extract

        return [pair.code for pair in extract(self.package)], None
