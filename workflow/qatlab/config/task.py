"""What a model is evaluated on (conf/task): queries, documents and relevance judgements.

Of translation, a query is a text and its document the reference; of language modelling, both are the text that is predicted.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qatlab.config.base import FullLine, HubId, Line, LocalPath, Name, Strict
from qatlab.config.fields import SOURCE_AND_TARGET, TEXT, ParallelTexts, TwoColumns
from qatlab.config.model import ModelConfig

Kind = Literal["retrieval", "reranking", "similarity", "translation", "language_modelling"]

Queries = Annotated[int | None, Field(gt=0, description="Queries kept after shuffling; null keeps all")]

HubName = Annotated[HubId, Field(description="Hub id, owner/name")]
Subset = Annotated[Line | None, Field(description="The configuration of the data set, where it has several")]

ShuffleSeed = Annotated[int, Field(ge=0, lt=2**32, description="Which queries are kept")]


class DocstringTask(Strict):
    """Find a function of an installed package by its docstring summary; every function is a document."""

    source: Literal["docstrings"]
    package: Annotated[Name, Field(description="An installed package, or 'stdlib'")]
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0
    documents: Annotated[
        int | None, Field(gt=0, description="Documents indexed, those of the queries first; null indexes all")
    ] = None


class LocalTask(Strict):
    """A folder in BEIR layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv."""

    source: Literal["local"]
    path: LocalPath
    split: Annotated[Name, Field(description="Which file of qrels/")] = "test"
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0


class PairsTask(Strict):
    """Pairs of texts and how alike people found them: a CSV, TSV, JSON Lines or Parquet file."""

    source: Literal["pairs"]
    path: LocalPath
    columns: Annotated[
        list[FullLine], Field(min_length=3, max_length=3, description="The two texts and their score, by column")
    ] = ["sentence1", "sentence2", "score"]
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0


class MiningConfig(Strict):
    """Hard negatives for records that have none: what a search finds for the query besides its positive."""

    bm25: Annotated[int, Field(ge=0, description="The best by BM25")] = 0
    model: Annotated[int, Field(ge=0, description="Besides these, the best by a model's cosine similarity")] = 0
    searcher: Annotated[ModelConfig, Field(description="This model: the same for all that a study compares")] = (
        ModelConfig(name="sentence-transformers/all-MiniLM-L6-v2")
    )

    @property
    def mines(self) -> bool:
        """Whether any are looked for."""
        return self.bm25 + self.model > 0


class _Records(Strict):
    """Records withheld from training, by what their keys or columns are called."""

    query: Annotated[FullLine, Field(description="The query's key")] = "query"
    positive: Annotated[FullLine, Field(description="The key of its answer, or of a list of answers")] = "positive"
    negatives: Annotated[FullLine, Field(description="The key of a list of texts, or of one")] = "negatives"
    mined: Annotated[MiningConfig, Field(description="Where records have no negatives")] = MiningConfig()
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0


class WithheldTask(_Records):
    """Records withheld from training, as JSON Lines: a query, its positive, and hard negatives among which it must be found."""

    source: Literal["withheld"]
    path: LocalPath


class HubWithheldTask(_Records):
    """The same, of rows of a data set of the hub."""

    source: Literal["hub_withheld"]
    name: HubName
    subset: Subset = None
    split: FullLine = "test"
    revision: Line = "main"


class DocstringWithheldTask(Strict):
    """The same, of an installed package: a function's docstring summary, its code, and codes of others."""

    source: Literal["docstring_withheld"]
    package: Annotated[Name, Field(description="An installed package, or 'stdlib'")]
    mined: MiningConfig = MiningConfig(bm25=4)
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0

    @model_validator(mode="after")
    def _mines(self) -> "DocstringWithheldTask":
        if not self.mined.mines:
            raise ValueError("functions have no negatives; set mined.bm25 or mined.model above 0")
        return self


class HubTask(Strict):
    """A data set of the hub with the subsets corpus, queries and qrels, as NanoBEIR publishes them."""

    source: Literal["hub"]
    name: HubName
    revision: Line = "main"
    split: FullLine = "train"
    mteb_name: Annotated[Line | None, Field(description="What mteb calls it; for results in mteb's format")] = None
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0


class MtebTask(Strict):
    """A retrieval, reranking or STS task of mteb, by the name that mteb gives it, at the revision that mteb names."""

    source: Literal["mteb"]
    name: FullLine
    split: Annotated[Line | None, Field(description="Of its evaluation splits; null where it has one only")] = None
    subset: Annotated[Line | None, Field(description="Such as a language; null where it has one only")] = None
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0


class NumeralTask(Strict):
    """Translate numbers and dates in words that training never sees, from English into French."""

    source: Literal["numerals"]
    queries: Annotated[int, Field(gt=0, le=100_000, description="Texts made, all of them different")] = 1000
    shuffle_seed: Annotated[int, Field(ge=0, lt=2**32, description="Which texts are made")] = 0


class ParallelTask(ParallelTexts):
    """Translate texts of your own; the reference is the same line of another file, another column, or the catalogue's message."""

    source: Literal["parallel"]
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0


Value = Line | bool | int


class HubParallelTask(Strict):
    """Translate texts of a data set of the hub."""

    source: Literal["hub_parallel"]
    name: HubName
    subset: Subset = None
    split: FullLine = "test"
    revision: Line = "main"
    columns: Annotated[
        TwoColumns, Field(description="COLUMN.KEY is a key of a column that holds dictionaries, as in translation.en")
    ] = SOURCE_AND_TARGET
    leave_out: Annotated[
        dict[FullLine, Value],
        Field(description="Rows that are left out: those that have such a value in such a column"),
    ] = {}
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0


class PackageTextTask(Strict):
    """Predict the source files of an installed package, whole."""

    source: Literal["package_texts"]
    package: Annotated[Name, Field(description="An installed package, or 'stdlib'")]
    queries: Annotated[int | None, Field(gt=0, description="Files kept after shuffling; null keeps all")] = None
    shuffle_seed: ShuffleSeed = 0


class LocalTextTask(Strict):
    """Predict the texts of a column of a CSV, TSV, JSON Lines or Parquet file."""

    source: Literal["local_texts"]
    path: LocalPath
    column: Annotated[FullLine, Field(description="The column that holds the texts")] = TEXT
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0


class HubTextTask(Strict):
    """Predict the texts of a column of a data set of the hub."""

    source: Literal["hub_texts"]
    name: HubName
    subset: Subset = None
    split: FullLine = "test"
    revision: Line = "main"
    column: Annotated[FullLine, Field(description="The column that holds the texts")] = TEXT
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0


TranslationTask = NumeralTask | ParallelTask | HubParallelTask
TextTask = PackageTextTask | LocalTextTask | HubTextTask
RecordsTask = WithheldTask | HubWithheldTask | DocstringWithheldTask
AnyTask = DocstringTask | LocalTask | PairsTask | RecordsTask | HubTask | MtebTask | TranslationTask | TextTask
TaskConfig = Annotated[AnyTask, Field(discriminator="source")]
