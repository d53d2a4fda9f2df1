"""What a model is evaluated on (conf/task): queries, documents and relevance judgements."""

from typing import Annotated, Literal

from pydantic import Field

from qatlab.config.base import Strict

Queries = Annotated[int | None, Field(gt=0, description="Queries kept after shuffling; null keeps all")]

ShuffleSeed = Annotated[int, Field(ge=0, lt=2**32, description="Which queries are kept")]


class DocstringTask(Strict):
    """Find a function of an installed package by its docstring summary; every function is a document."""

    source: Literal["docstrings"]
    package: Annotated[str, Field(min_length=1, description="An installed package, or 'stdlib'")]
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0
    documents: Annotated[
        int | None, Field(gt=0, description="Documents indexed, those of the queries first; null indexes all")
    ] = None


class LocalTask(Strict):
    """A folder in BEIR layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv."""

    source: Literal["local"]
    path: Annotated[str, Field(min_length=1)]
    split: Annotated[str, Field(min_length=1, description="Which file of qrels/")] = "test"
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0


class HubTask(Strict):
    """A data set of the hub with the subsets corpus, queries and qrels, as NanoBEIR publishes them."""

    source: Literal["hub"]
    name: Annotated[str, Field(min_length=1)]
    revision: str = "main"
    split: Annotated[str, Field(min_length=1)] = "train"
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0


TaskConfig = Annotated[DocstringTask | LocalTask | HubTask, Field(discriminator="source")]
