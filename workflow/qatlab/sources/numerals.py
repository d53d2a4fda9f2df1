"""Numbers and dates in words, English and French: data to learn translation from where there is no network."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from qatlab.config.fields import SOURCE_AND_TARGET
from qatlab.sources.source import SOURCES, Source

if TYPE_CHECKING:
    import pandas as pd


@SOURCES.register("numerals")
class Numerals(Source):
    """Numbers and dates in words, English and French, made on the spot (no network)."""

    source: Literal["numerals"]
    rows: Annotated[int, Field(gt=0, le=1_000_000, description="Texts made, all of them different")] = 20_000
    shuffle_seed: Annotated[int, Field(ge=0, lt=2**32, description="Which texts are made")] = 0

    @property
    def columns(self) -> list[str]:
        """The columns that are written."""
        return SOURCE_AND_TARGET

    def origin(self) -> str:
        """Return a constant: the fields alone decide the rows."""
        return "generated"

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return English and French texts."""
        import pandas as pd

        from qatlab.data.numerals import pairs

        return pd.DataFrame(pairs("train", self.shuffle_seed, self.rows), columns=self.columns), None

    def describe(self, manifest: dict[str, Any]) -> str:
        """Say what the texts are."""
        return ", numbers and dates in English words with their French, made by qatlab"
