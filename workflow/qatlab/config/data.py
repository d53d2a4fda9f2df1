"""What a model is trained on (conf/data): pairs, tuples with negatives, or texts, one row an example."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from qatlab.config.base import FullLine, HubId, Line, LocalPath, Name, Strict

Rows = Annotated[int | None, Field(gt=0, description="Rows kept after shuffling; null keeps all")]
ShuffleSeed = Annotated[
    int, Field(ge=0, lt=2**32, description="Which rows are kept, and in which order they are stored")
]
Packages = Annotated[list[Name], Field(min_length=1, description="Packages to train on")]

TEXT = "text"  # the column of texts without a counterpart
SOURCE_AND_TARGET = ["source", "target"]


def _distinct(columns: list[str]) -> list[str]:
    if len(set(columns)) < len(columns):
        raise ValueError(f"names a column twice: {', '.join(columns)}")
    return columns


def column_name(column: str) -> str:
    """What a column of the hub is called in Parquet: its last part, of `translation.en` en."""
    return column.rpartition(".")[2]


def _distinct_when_stored(columns: list[str]) -> list[str]:
    _distinct([column_name(column) for column in columns])
    return columns


Columns = Annotated[
    list[FullLine],
    AfterValidator(_distinct),
    Field(min_length=1, description="Text columns in the order the loss reads them; one alone for language modelling"),
]
HubColumns = Annotated[
    list[FullLine],
    AfterValidator(_distinct_when_stored),
    Field(
        min_length=1,
        description="Text columns in the order the loss reads them; one alone for language modelling. COLUMN.KEY is a key of a "
        "column that holds dictionaries, as in translation.en, and is called en from here on",
    ),
]
TwoColumns = Annotated[
    list[FullLine],
    AfterValidator(_distinct),
    Field(min_length=2, max_length=2, description="What is translated, and its translation"),
]
Paths = Annotated[
    list[LocalPath],
    Field(
        min_length=1,
        max_length=2,
        description="Two files of plain text whose lines belong together (also gzipped), one table with two columns, or message "
        "catalogues (.po, .mo) and folders of them",
    ),
]


class DocstringData(Strict):
    """Docstring → code pairs of installed packages (no network)."""

    source: Literal["docstrings"]
    name: Name
    packages: Packages
    held_out: Annotated[
        list[Name], Field(description="Packages whose functions are removed wherever they reappear")
    ] = []
    rows: Rows = None
    shuffle_seed: ShuffleSeed = 0

    @property
    def columns(self) -> list[str]:
        """Those that are written."""
        return ["anchor", "positive"]


class LocalData(Strict):
    """A CSV, TSV, JSON Lines or Parquet file."""

    source: Literal["local"]
    name: Name
    path: Annotated[LocalPath, Field(description="The file; relative paths start at the working directory")]
    columns: Columns = ["anchor", "positive"]
    rows: Rows = None
    shuffle_seed: ShuffleSeed = 0


class HubData(Strict):
    """A data set of the Hugging Face hub."""

    source: Literal["hub"]
    name: Annotated[HubId, Field(description="Hub id, owner/name")]
    subset: Annotated[Line | None, Field(description="The configuration of the data set, where it has several")] = None
    split: FullLine = "train"
    revision: Annotated[Line, Field(description="Hub branch, tag or commit")] = "main"
    columns: HubColumns = ["anchor", "positive"]
    rows: Rows = None
    shuffle_seed: ShuffleSeed = 0


class NumeralData(Strict):
    """Numbers and dates in words, English and French, made on the spot (no network)."""

    source: Literal["numerals"]
    name: Name
    rows: Annotated[int, Field(gt=0, le=1_000_000, description="Texts made, all of them different")] = 20_000
    shuffle_seed: Annotated[int, Field(ge=0, lt=2**32, description="Which texts are made")] = 0

    @property
    def columns(self) -> list[str]:
        """Those that are written."""
        return SOURCE_AND_TARGET


class ParallelTexts(Strict):
    """Texts and their translations: of two files line by line, of two columns of a table, or of message catalogues."""

    paths: Paths | None = None
    packages: Annotated[
        list[Name] | None, Field(min_length=1, description="Installed packages whose message catalogues are read")
    ] = None
    language: Annotated[
        Name | None,
        Field(description="Language of the message catalogues in folders and packages, such as fr or pt_BR"),
    ] = None
    columns: TwoColumns = SOURCE_AND_TARGET

    @model_validator(mode="after")
    def _names_texts(self) -> Self:
        if (self.paths is None) == (self.packages is None):
            raise ValueError("set either paths or packages")
        if self.packages is not None and self.language is None:
            raise ValueError("packages hold several languages; set language, such as fr")
        return self


class ParallelData(ParallelTexts):
    """Texts and their translations to train on."""

    source: Literal["parallel"]
    name: Name
    rows: Rows = None
    shuffle_seed: ShuffleSeed = 0


class PackageTextData(Strict):
    """Source files of installed packages, whole (no network)."""

    source: Literal["package_texts"]
    name: Name
    packages: Packages
    held_out: Annotated[list[Name], Field(description="Packages whose files are removed wherever they reappear")] = []
    rows: Rows = None
    shuffle_seed: ShuffleSeed = 0

    @property
    def columns(self) -> list[str]:
        """Those that are written."""
        return [TEXT]


AnyData = DocstringData | LocalData | HubData | NumeralData | ParallelData | PackageTextData
DataConfig = Annotated[AnyData, Field(discriminator="source")]
