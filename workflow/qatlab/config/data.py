"""What a model is trained on (conf/data): pairs, or tuples with negatives, one row an example."""

from typing import Annotated, Literal

from pydantic import Field

from qatlab.config.base import Strict

Rows = Annotated[int | None, Field(gt=0, description="Rows kept after shuffling; null keeps all")]
ShuffleSeed = Annotated[
    int, Field(ge=0, lt=2**32, description="Which rows are kept, and in which order they are stored")
]
Columns = Annotated[list[str], Field(min_length=2, description="Text columns in the order the loss reads them")]


class DocstringData(Strict):
    """Docstring → code pairs of installed packages (no network)."""

    source: Literal["docstrings"]
    name: Annotated[str, Field(min_length=1)]
    packages: Annotated[list[str], Field(min_length=1, description="Packages to train on")]
    held_out: Annotated[
        list[str], Field(description="Packages whose functions are removed wherever they reappear")
    ] = []
    rows: Rows = None
    shuffle_seed: ShuffleSeed = 0


class LocalData(Strict):
    """A CSV, TSV, JSON Lines or Parquet file."""

    source: Literal["local"]
    name: Annotated[str, Field(min_length=1)]
    path: Annotated[str, Field(min_length=1, description="The file; relative paths start at the working directory")]
    columns: Columns = ["anchor", "positive"]
    rows: Rows = None
    shuffle_seed: ShuffleSeed = 0


class HubData(Strict):
    """A data set of the Hugging Face hub."""

    source: Literal["hub"]
    name: Annotated[str, Field(min_length=1, description="Hub id, owner/name")]
    subset: Annotated[str | None, Field(description="The configuration of the data set, where it has several")] = None
    split: Annotated[str, Field(min_length=1)] = "train"
    revision: Annotated[str, Field(description="Hub branch, tag or commit")] = "main"
    columns: Columns = ["anchor", "positive"]
    rows: Rows = None
    shuffle_seed: ShuffleSeed = 0


DataConfig = Annotated[DocstringData | LocalData | HubData, Field(discriminator="source")]
