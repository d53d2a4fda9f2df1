"""What every source of training data supplies, and the registry of them."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from qatlab.base import Name
from qatlab.config.fields import Rows, ShuffleSeed
from qatlab.registry import Registered, Registry

if TYPE_CHECKING:
    import pandas as pd


class Source(Registered):
    """A source of training data, as a configuration chooses it by `data.source`.

    A subclass adds its fields, the text columns that it writes, and the methods below. Modules of sources import what reads data
    inside of these methods: the plan and other stages look at the fields alone.
    """

    source: str
    name: Name
    rows: Rows = None
    shuffle_seed: ShuffleSeed = 0

    if TYPE_CHECKING:  # a field of some sources, and fixed in others

        @property
        def columns(self) -> list[str]:
            """The text columns that are written."""

    @abstractmethod
    def load(self) -> "tuple[pd.DataFrame, str | None]":
        """Return all rows as text columns in their order, and the commit of a hub that they are of.

        Raises:
            UserError: for rows that cannot be read.
        """

    @abstractmethod
    def describe(self, manifest: dict[str, Any]) -> str:
        """Return where the rows come from in Markdown, to follow 'fine-tuned on 1,024 rows (anchor, positive) '.

        Args:
            manifest: the data artifact's, with `rows`, `columns`, `origin` and `commit`.
        """

    def hub_ids(self) -> list[str] | None:
        """Return the ids of the hub's data sets that the rows are of, for the metadata of model cards; None for others."""
        return None

    def counts(self) -> dict[str, Any] | None:
        """Return `rows`, `kept` and `distinct` (different texts by column) where a plan can count them; else None."""
        return None


SOURCES: Registry[type[Source]] = Registry("source of training data", "qatlab.sources")
