"""Base class and registry of a study's wide tables.

A table is one class, registered where it is defined. An installed package adds one by the entry point `qatlab.tables`; studies that
name it in `study.tables` get it if its condition holds.
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
    """Wide table: the condition on which a study has it, its title, and its rows.

    Attributes:
        place: position among the tables of a study, in ascending order; tables of other packages come last.
        caption: description in Snakemake's report, in reStructuredText.
    """

    place: ClassVar[int] = 1000
    caption: ClassVar[str]

    @abstractmethod
    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a study has results for the table; by this the plan decides which files the study gets."""

    @abstractmethod
    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""

    @abstractmethod
    def rows(self, gathered: "Gathered") -> "pd.DataFrame":
        """Return the table as it is written, with readable column names and with numbers that may be formatted."""


class Placed(Protocol):
    """Interface that tables and plots share: a place among others, and the condition on which a study has it."""

    place: ClassVar[int]

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a study has this table or plot."""


T = TypeVar("T", bound=Placed)
TABLES: Registry[type[Table]] = Registry("table", "qatlab.tables", key="name")


def tables_of(study: StudyRecord) -> dict[str, Table]:
    """Return the tables that a study has, by name, in their order.

    Raises:
        UserError: for a name in `study.tables` that is not a table of an installed package.
    """
    return in_place(TABLES, study.tables, study)


def in_place(registry: Registry[type[T]], others: Iterable[str], study: StudyRecord) -> dict[str, T]:
    """Return instances of the registered classes that a study has, by name, in the order of their places.

    Args:
        registry: registry of classes with `place` and `wanted`.
        others: names of classes of installed packages that the study lists; those of qatlab are always considered.
        study: the study, which decides by `wanted`.
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
    """Return whether any run of a study trains a model."""
    return any(run.trains for run in study.runs)
