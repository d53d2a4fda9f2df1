"""What every wide table of a study supplies, and the registry of them.

A table is one class, registered where it is defined. An installed package adds one by the entry point `qatlab.tables`; studies that
name it in `study.tables` have it where its condition holds.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from qatlab.registry import Registry
from qatlab.study.record import StudyRecord
from qatlab.tables.names import is_simulation

if TYPE_CHECKING:
    import pandas as pd

    from qatlab.tables.gathered import Gathered


class Table(ABC):
    """A wide table: which studies have it, its title, and its rows.

    Attributes:
        place: among the tables of a study, in ascending order; those of other packages come last.
        caption: what Snakemake's report says of it, in reStructuredText.
    """

    place: ClassVar[int] = 1000
    caption: ClassVar[str]

    @abstractmethod
    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a study has figures for it. The plan decides by this which files a study gets."""

    @abstractmethod
    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""

    @abstractmethod
    def rows(self, gathered: "Gathered") -> "pd.DataFrame":
        """Return the table as it is written: columns named for people, numbers formatted or as they are."""


class Placed(Protocol):
    """A table or plot: its place among others, and the condition by which a study has it."""

    place: ClassVar[int]

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a study has it."""


T = TypeVar("T", bound=Placed)
TABLES: Registry[type[Table]] = Registry("table", "qatlab.tables", key="name")


def tables_of(study: StudyRecord) -> dict[str, Table]:
    """Return the tables that a study has, by name, in their order.

    Raises:
        UserError: for a name in `study.tables` that is no table of an installed package.
    """
    return in_place(TABLES, study.tables, study)


def in_place(registry: Registry[type[T]], others: Iterable[str], study: StudyRecord) -> dict[str, T]:
    """Return instances of the registered classes that a study wants, by name, in the order of their places.

    Args:
        registry: of classes with `place` and `wanted`.
        others: names of classes of installed packages that the study asks for, besides those of qatlab.
    """
    declared = {name: registry.get(name)() for name in (*registry.built_in, *others)}
    wanted = [name for name, instance in declared.items() if instance.wanted(study)]
    return {name: declared[name] for name in sorted(wanted, key=lambda name: declared[name].place)}


def drift_references(study: StudyRecord) -> Iterator[str]:
    """Yield the references that deployments are compared with, once per comparison."""
    for run in study.runs:
        for entry in run.evaluations:
            yield from entry.drift


def compares_deployments(study: StudyRecord) -> bool:
    """Return whether deployments are compared with one another, besides with the forward pass of training."""
    return any(not is_simulation(reference) for reference in drift_references(study))


def trains(study: StudyRecord) -> bool:
    """Return whether a run has a model of its own."""
    return any(run.trains for run in study.runs)
