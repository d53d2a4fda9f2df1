"""Base class and registry of evaluation tasks."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import pandas as pd
from pydantic import Field

from qatlab.config.model import ModelConfig
from qatlab.evaluation.task import Kind
from qatlab.registry import Registered, Registry, Strict


class MiningConfig(Strict):
    """Settings for mining hard negatives for records without any: search results for the query other than its positive."""

    bm25: Annotated[
        int, Field(ge=0, description="Number of negatives per record, the best results of a search with BM25.")
    ] = 0
    model: Annotated[
        int,
        Field(
            ge=0,
            description="Number of further negatives per record, the best results by cosine similarity of the searcher's embeddings.",
        ),
    ] = 0
    searcher: Annotated[
        ModelConfig,
        Field(
            description="Embedding model of the search; all methods that a study compares share the negatives that it finds."
        ),
    ] = ModelConfig(name="sentence-transformers/all-MiniLM-L6-v2")

    @property
    def mines(self) -> bool:
        """Return whether any negatives are mined."""
        return self.bm25 + self.model > 0


ShuffleSeed = Annotated[int, Field(ge=0, lt=2**32, description="Random seed that decides which queries are kept.")]
Queries = Annotated[int | None, Field(gt=0, description="Number of queries to keep after shuffling; null keeps all.")]


@dataclass(frozen=True)
class Loaded:
    """Texts and judgements of a task, before queries are selected.

    In translation, a query is a text and its document the reference translation. In language modelling, both are the text that
    the model predicts.

    Attributes:
        kind: kind of the task, which decides how it is scored.
        documents, queries: tables with the columns id and text.
        judgements: table with the columns query_id, doc_id and relevance.
        more: further entries of the manifest.
    """

    kind: Kind
    documents: "pd.DataFrame"
    queries: "pd.DataFrame"
    judgements: "pd.DataFrame"
    more: Mapping[str, object] = field(default_factory=dict)


class MtebSource(NamedTuple):
    """A task by the names that mteb has for it."""

    task: str
    dataset_revision: str
    split: str
    subset: str


class Task(Registered):
    """Base class of the evaluation tasks. A configuration chooses one by `task.NAME.source`.

    A subclass adds its fields and the methods below. The modules of tasks import libraries that read data inside these methods
    only, because the plan and other stages need just the fields.
    """

    kind: ClassVar[Kind] = "retrieval"
    chooses_queries: ClassVar[bool] = False  # Whether `load` already returns only `queries` queries.
    # Whether judgements may refer to documents that do not exist; these count as not retrieved.
    judges_missing_texts: ClassVar[bool] = False

    source: str
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0

    @abstractmethod
    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the texts and judgements of the task.

        Args:
            name: name of the task in the study, for messages.
            model: folder of the model that mines hard negatives, if `mines_with` requires one.

        Raises:
            UserError: if the texts cannot be read.
        """

    def kind_of(self, origin: Any) -> Kind:
        """Return the kind of the task, given its origin."""
        return self.kind

    def mines_with(self) -> MiningConfig | None:
        """Return the configuration of hard-negative mining if a model is needed for it, else None."""
        return None

    def in_mteb(self, kind: Kind) -> bool:
        """Return whether mteb has the task and scores it as qatlab does."""
        return False

    def mteb_source(self, manifest: Mapping[str, Any]) -> MtebSource | None:
        """Return the task by its names in mteb, or None if mteb does not have the task.

        Args:
            manifest: the manifest of the task artifact.
        """
        return None


TASKS: Registry[type[Task]] = Registry("source of an evaluation task", "qatlab.tasks")


def one_to_one(texts: list[str], counterparts: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return documents (the counterparts), queries (the texts) and judgements that pair them by equal ids, in their order."""
    digits = len(str(len(texts)))
    ids = [f"text-{number:0{digits}}" for number in range(len(texts))]
    return (
        pd.DataFrame({"id": ids, "text": counterparts}),
        pd.DataFrame({"id": ids, "text": texts}),
        pd.DataFrame({"query_id": ids, "doc_id": ids, "relevance": 1.0}),
    )
