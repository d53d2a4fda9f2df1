"""Base class and registry of the sets of texts."""

from abc import abstractmethod
from typing import Annotated

from pydantic import Field

from qatlab.registry import Registered, Registry

Rows = Annotated[
    int | None,
    Field(gt=0, description="Number of texts to take, from the first on in their stored order; null takes all."),
]


class TextSet(Registered):
    """Base class of the sets of texts. A configuration chooses one by `texts.NAME.source`."""

    source: str
    rows: Rows = None

    @abstractmethod
    def load(self, name: str) -> tuple[list[str], str | None]:
        """Return all texts, and the hub commit that they come from (None for other sources).

        Args:
            name: name of the set in the study, for messages.

        Raises:
            UserError: if the texts cannot be read.
        """


TEXT_SETS: Registry[type[TextSet]] = Registry("source of texts", "qatlab.text_sets")
