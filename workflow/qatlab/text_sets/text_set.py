"""What every set of texts supplies, and the registry of them."""

from abc import abstractmethod
from typing import Annotated

from pydantic import Field

from qatlab.registry import Registered, Registry

Rows = Annotated[int | None, Field(gt=0, description="The first n texts, in their own order; null takes all")]


class TextSet(Registered):
    """A set of texts, as a configuration chooses it by `texts.NAME.source`."""

    source: str
    rows: Rows = None

    @abstractmethod
    def load(self, name: str) -> tuple[list[str], str | None]:
        """Return all texts and, of the hub, the commit that they are of.

        Args:
            name: what the study calls the set, for messages.
        """


TEXT_SETS: Registry[type[TextSet]] = Registry("source of texts", "qatlab.text_sets")
