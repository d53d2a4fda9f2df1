"""Source of numbers and dates in English and French words: generated translation data that needs no network access."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qatlab.registry import SOURCE_AND_TARGET
from qatlab.sources.source import SOURCES, DataManifest, Source

if TYPE_CHECKING:
    import pandas as pd


@SOURCES.register("numerals")
class Numerals(Source):
    """Numbers and dates in English and French words, generated without network access."""

    source: Literal["numerals"]
    rows: Annotated[int, Field(gt=0, le=1_000_000, description="Number of distinct texts to generate.")] = 20_000
    shuffle_seed: Annotated[
        int, Field(ge=0, lt=2**32, description="Random seed that decides which texts are generated.")
    ] = 0

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns that `load` returns."""
        return SOURCE_AND_TARGET

    def origin(self) -> str:
        """Return a constant, because the fields alone determine the rows."""
        return "generated"

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return a table with the columns source (English) and target (French), and None, since there is no hub commit."""
        import pandas as pd

        from qatlab.data.numerals import pairs

        return pd.DataFrame(pairs("train", self.shuffle_seed, self.rows), columns=self.columns), None

    def describe(self, manifest: DataManifest) -> str:
        """Return what the texts are as the end of a sentence."""
        return ", numbers and dates in English words with their French, made by qatlab"
