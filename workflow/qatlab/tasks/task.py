"""What every evaluation task supplies, and the registry of them."""

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from qatlab.config.kind import Kind
from qatlab.config.mining import MiningConfig
from qatlab.registry import Registered, Registry

if TYPE_CHECKING:
    import pandas as pd

ShuffleSeed = Annotated[int, Field(ge=0, lt=2**32, description="Which queries are kept")]
Queries = Annotated[int | None, Field(gt=0, description="Queries kept after shuffling; null keeps all")]


@dataclass(frozen=True)
class Loaded:
    """Texts and judgements of a task, before queries are chosen.

    Of translation, a query is a text and its document the reference; of language modelling, both are the text that is predicted.

    Attributes:
        kind: what the task asks.
        documents, queries: columns id, text.
        judgements: columns query_id, doc_id, relevance.
        more: further entries of the manifest.
    """

    kind: Kind
    documents: "pd.DataFrame"
    queries: "pd.DataFrame"
    judgements: "pd.DataFrame"
    more: dict[str, Any] = field(default_factory=dict)


class Task(Registered):
    """An evaluation task, as a configuration chooses it by `task.NAME.source`.

    A subclass adds its fields and the methods below. Modules of tasks import what reads data inside of these methods: the plan
    and other stages look at the fields alone.
    """

    kind: ClassVar[Kind] = "retrieval"
    chooses_queries: ClassVar[bool] = False  # `load` has kept `queries` of them
    judges_missing_texts: ClassVar[bool] = False  # judgements may name texts that are not there, which stay unfound

    source: str
    queries: Queries = None
    shuffle_seed: ShuffleSeed = 0

    @abstractmethod
    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the texts and judgements.

        Args:
            name: what the study calls the task, for messages.
            model: the folder of the model by `mines_with`, if any.
        """

    def kind_of(self, origin: Any) -> Kind:
        """Return what the task asks, given its origin."""
        return self.kind

    def mines_with(self) -> MiningConfig | None:
        """Return the configuration by which a model mines hard negatives; None if none does."""
        return None

    def in_mteb(self, kind: Kind) -> bool:
        """Return whether mteb knows the task and scores it as qatlab does."""
        return False

    def mteb_source(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        """Return `task`, `dataset_revision`, `split` and `subset` as mteb calls them; None if it does not know the task.

        Args:
            manifest: the task artifact's.
        """
        return None


TASKS: Registry[type[Task]] = Registry("source of an evaluation task", "qatlab.tasks")
