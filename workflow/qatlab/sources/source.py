"""Base class and registry of the sources of training data."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from qatlab.base import Name
from qatlab.config.fields import Rows, ShuffleSeed
from qatlab.registry import Registered, Registry

if TYPE_CHECKING:
    import pandas as pd


class Source(Registered):
    """Base class of the sources of training data. A configuration chooses one by `data.source`.

    A subclass adds its fields, the names of its text columns, and the methods below. The modules of sources import libraries that
    read data inside these methods only, because the plan and other stages need just the fields.
    """

    source: str
    name: Name
    rows: Rows = None
    shuffle_seed: ShuffleSeed = 0

    if TYPE_CHECKING:  # Some sources define it as a field, others as a property with a constant value.

        @property
        def columns(self) -> list[str]:
            """Return the names of the text columns that `load` returns."""

    @abstractmethod
    def load(self) -> "tuple[pd.DataFrame, str | None]":
        """Return all rows of the text columns in their stored order, and the hub commit that they come from (None for others).

        Raises:
            UserError: if the rows cannot be read.
        """

    @abstractmethod
    def describe(self, manifest: dict[str, Any]) -> str:
        """Return the origin of the rows in Markdown, to continue the sentence 'fine-tuned on 1,024 rows (anchor, positive) …'.

        Args:
            manifest: the manifest of the data artifact, with `rows`, `columns`, `origin` and `commit`.
        """

    def hub_ids(self) -> list[str] | None:
        """Return the ids of the hub data sets that the rows come from, for the metadata of model cards; None for other sources."""
        return None

    def counts(self) -> dict[str, Any] | None:
        """Return `rows`, `kept` and `distinct` (number of distinct texts by column) if the plan can count them, else None."""
        return None


SOURCES: Registry[type[Source]] = Registry("source of training data", "qatlab.sources")
