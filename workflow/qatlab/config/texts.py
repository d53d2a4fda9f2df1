"""Sets of texts that are only embedded (conf/texts): what drift is measured on besides the tasks."""

from typing import Annotated, Literal

from pydantic import Field

from qatlab.config.base import FullLine, HubId, Line, LocalPath, Name, Strict

Rows = Annotated[int | None, Field(gt=0, description="The first n texts, in their own order; null takes all")]
Column = Annotated[FullLine, Field(description="The column that holds the texts")]


class DocstringTexts(Strict):
    """The functions of an installed package, without their docstrings."""

    source: Literal["docstrings"]
    package: Annotated[Name, Field(description="An installed package, or 'stdlib'")]
    rows: Rows = None


class LocalTexts(Strict):
    """A column of a CSV, TSV, JSON Lines or Parquet file."""

    source: Literal["local"]
    path: LocalPath
    column: Column = "text"
    rows: Rows = None


class HubTexts(Strict):
    """A column of a data set of the Hugging Face hub."""

    source: Literal["hub"]
    name: Annotated[HubId, Field(description="Hub id, owner/name")]
    subset: Line | None = None
    split: FullLine = "train"
    revision: Line = "main"
    column: Column = "text"
    rows: Rows = None


TextsConfig = Annotated[DocstringTexts | LocalTexts | HubTexts, Field(discriminator="source")]
