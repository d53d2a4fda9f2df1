"""Base class of a study's plots, and their registry.

A plot is one class, registered where it is defined. An installed package adds a plot by the entry point `qatlab.plots`; studies that
name it in `study.plots` have it if its condition holds.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from qatlab.registry import Registry
from qatlab.study.record import StudyRecord
from qatlab.tables.table import in_place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from qatlab.plots.drawn_from import DrawnFrom


class Plot(ABC):
    """Plot of a study: its condition, its title and caption in reports, and its figure.

    Modules of plots import Matplotlib inside functions, because the plan evaluates only the conditions.

    Attributes:
        place: position among the plots of a study, in ascending order; plots of other packages come last by default.
        title: title in Snakemake's report.
        caption: caption in Snakemake's report, in reStructuredText.
        tables: names of the wide tables that it is drawn from.
    """

    place: ClassVar[int] = 1000
    title: ClassVar[str]
    caption: ClassVar[str]
    tables: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a study has results for this plot. The plan uses this to determine the files of a study."""

    @abstractmethod
    def draw(self, drawn_from: "DrawnFrom") -> "Figure | None":
        """Return the figure; None if no run has results for it."""


PLOTS: Registry[type[Plot]] = Registry("plot", "qatlab.plots", key="name")


def plots_of(study: StudyRecord) -> dict[str, Plot]:
    """Return the plots that a study has, by name, in their order.

    Raises:
        UserError: if `study.plots` contains a name that no installed package registers.
    """
    return in_place(PLOTS, study.plots, study)
