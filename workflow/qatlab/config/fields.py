"""Configuration fields that are shared by sources of training data and by evaluation tasks."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from qatlab.base import FullLine, HubId, Line, LocalPath, Name, Strict

Rows = Annotated[int | None, Field(gt=0, description="Number of rows that are kept after shuffling; null keeps all.")]
ShuffleSeed = Annotated[
    int,
    Field(
        ge=0,
        lt=2**32,
        description="Random seed of the shuffle, which determines the rows that are kept and the order in which they are stored.",
    ),
]
Packages = Annotated[
    list[Name], Field(min_length=1, description="Names of the Python packages whose texts are the training data.")
]

TEXT = "text"  # the column of texts without a counterpart
SOURCE_AND_TARGET = ["source", "target"]


def _distinct(columns: list[str]) -> list[str]:
    if len(set(columns)) < len(columns):
        raise ValueError(f"a column is listed twice: {', '.join(columns)}; list each column once")
    return columns


def column_name(column: str) -> str:
    """Return the name of a hub column in Parquet files: the part after the last dot, such as 'en' for `translation.en`."""
    return column.rpartition(".")[2]


def _distinct_when_stored(columns: list[str]) -> list[str]:
    _distinct([column_name(column) for column in columns])
    return columns


Columns = Annotated[
    list[FullLine],
    AfterValidator(_distinct),
    Field(
        min_length=1,
        description="Text columns in the order in which the loss reads them; language modelling takes a single column.",
    ),
]
HubColumns = Annotated[
    list[FullLine],
    AfterValidator(_distinct_when_stored),
    Field(
        min_length=1,
        description="Text columns in the order in which the loss reads them; language modelling takes a single column. COLUMN.KEY "
        "selects a key of a column that holds dictionaries: translation.en becomes the column en.",
    ),
]
TwoColumns = Annotated[
    list[FullLine],
    AfterValidator(_distinct),
    Field(min_length=2, max_length=2, description="The column of the texts and the column of their translations."),
]


class ParallelTexts(Strict):
    """Texts and their translations from two line-aligned files, from two columns of a table, or from message catalogues."""

    paths: Annotated[
        list[LocalPath] | None,
        Field(
            min_length=1,
            max_length=2,
            description="Two line-aligned plain-text files (gzip is allowed), one table with two columns, or message catalogues "
            "(.po, .mo) and folders that contain them.",
        ),
    ] = None
    packages: Annotated[
        list[Name] | None, Field(min_length=1, description="Installed packages whose message catalogues are read.")
    ] = None
    language: Annotated[
        Name | None,
        Field(description="Language of the message catalogues in folders and packages, such as fr or pt_BR."),
    ] = None
    columns: TwoColumns = SOURCE_AND_TARGET

    @model_validator(mode="after")
    def _names_texts(self) -> Self:
        if (self.paths is None) == (self.packages is None):
            raise ValueError("set either paths or packages")
        if self.packages is not None and self.language is None:
            raise ValueError("packages contain several languages; set language, for example to fr")
        return self


class RecordKeys(Strict):
    """Names of the keys or columns of evaluation records."""

    query: Annotated[FullLine, Field(description="Key of the query.")] = "query"
    positive: Annotated[FullLine, Field(description="Key of the relevant text, or of a list of relevant texts.")] = (
        "positive"
    )
    negatives: Annotated[
        FullLine, Field(description="Key of an irrelevant text, or of a list of irrelevant texts.")
    ] = "negatives"


class HubSplit(Strict):
    """One split of a data set on the Hugging Face hub."""

    name: Annotated[HubId, Field(description="Hub id of the data set, OWNER/NAME.")]
    subset: Annotated[
        Line | None, Field(description="Subset (configuration) of the data set; needed where it has several.")
    ] = None
    split: Annotated[FullLine, Field(description="Split of the data set, such as train or test.")] = "test"
    revision: Annotated[Line, Field(description="Branch, tag or commit of the hub repository.")] = "main"

    def origin(self) -> str:
        """Return 'hub', because the hub's revision determines the rows."""
        return "hub"

    def on_hub(self, origin: Any) -> tuple[str, str] | None:
        """Return the id and revision of the data set."""
        return self.name, self.revision
