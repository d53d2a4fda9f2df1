"""What every plot of a study supplies, and the registry of them.

A plot is one class, registered where it is defined. An installed package adds one by the entry point `qatlab.plots`; studies that name
it in `study.plots` have it where its condition holds.
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
    """A plot: which studies have it, what it is called in reports, and its figure.

    Modules of plots import Matplotlib inside of their functions: the plan looks at the conditions alone.

    Attributes:
        place: among the plots of a study, in ascending order; those of other packages come last.
        title: what Snakemake's report calls it.
        caption: what Snakemake's report says of it, in reStructuredText.
        tables: the wide tables that it is drawn from.
    """

    place: ClassVar[int] = 1000
    title: ClassVar[str]
    caption: ClassVar[str]
    tables: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a study has figures for it. The plan decides by this which files a study gets."""

    @abstractmethod
    def draw(self, drawn_from: "DrawnFrom") -> "Figure | None":
        """Return the figure; None where every run is missing of it."""


PLOTS: Registry[type[Plot]] = Registry("plot", "qatlab.plots", key="name")


def plots_of(study: StudyRecord) -> dict[str, Plot]:
    """Return the plots that a study has, by name, in their order.

    Raises:
        UserError: for a name in `study.plots` that is no plot of an installed package.
    """
    return in_place(PLOTS, study.plots, study)
