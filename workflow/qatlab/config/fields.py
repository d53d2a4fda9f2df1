"""Fields that sources of training data and evaluation tasks share."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from qatlab.base import FullLine, HubId, Line, LocalPath, Name, Strict

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
    """Return the name that a column of the hub has in Parquet files: its last part, such as en for `translation.en`."""
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


class ParallelTexts(Strict):
    """Texts and their translations: of two files line by line, of two columns of a table, or of message catalogues."""

    paths: Annotated[
        list[LocalPath] | None,
        Field(
            min_length=1,
            max_length=2,
            description="Two files of plain text whose lines belong together (also gzipped), one table with two columns, or "
            "message catalogues (.po, .mo) and folders of them",
        ),
    ] = None
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


class RecordKeys(Strict):
    """Names of the keys or columns of evaluation records."""

    query: Annotated[FullLine, Field(description="The query's key")] = "query"
    positive: Annotated[FullLine, Field(description="The key of its answer, or of a list of answers")] = "positive"
    negatives: Annotated[FullLine, Field(description="The key of a list of texts, or of one")] = "negatives"


class HubSplit(Strict):
    """A split of a data set of the Hugging Face hub."""

    name: Annotated[HubId, Field(description="Hub id, owner/name")]
    subset: Annotated[Line | None, Field(description="The configuration of the data set, where it has several")] = None
    split: FullLine = "test"
    revision: Annotated[Line, Field(description="Hub branch, tag or commit")] = "main"

    def origin(self) -> str:
        """Return 'hub': the rows are those of the hub at the revision."""
        return "hub"

    def on_hub(self, origin: Any) -> tuple[str, str] | None:
        """Return the id and revision of the data set."""
        return self.name, self.revision
