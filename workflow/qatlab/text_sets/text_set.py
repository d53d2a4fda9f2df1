"""What every set of texts supplies, and the registry of them."""

from abc import ABC, abstractmethod
from typing import Annotated, Any

from pydantic import Field

from qatlab.config.base import Strict
from qatlab.registry import Registry, distribution

Rows = Annotated[int | None, Field(gt=0, description="The first n texts, in their own order; null takes all")]


class TextSet(Strict, ABC):
    """A set of texts, as a configuration chooses it by `texts.NAME.source`."""

    source: str
    rows: Rows = None

    @abstractmethod
    def origin(self) -> Any:
        """Return all that decides the texts besides the fields, as JSON; 'hub' stands for what the hub holds at the revision."""

    @abstractmethod
    def load(self, name: str) -> tuple[list[str], str | None]:
        """Return all texts and, of the hub, the commit that they are of.

        Args:
            name: what the study calls the set, for messages.
        """

    def fingerprint(self) -> Any:
        """Return the origin, with the version of the package that a plugin's set is of."""
        package = distribution(type(self))
        return {"plugin": package, "origin": self.origin()} if package else self.origin()


TEXT_SETS: Registry[type[TextSet]] = Registry("source of texts", "qatlab.text_sets")
