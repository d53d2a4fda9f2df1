"""Base class and registry of plots, the data that they are drawn from, and their common style."""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from qatlab.registry import Registry
from qatlab.study.record import StudyRecord
from qatlab.tables.labels import main_label
from qatlab.tables.missing import OK, WHOLE, Missing, in_words, incomplete_runs
from qatlab.tables.table import in_place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe & Ito 2008, "Color Universal Design", https://jfly.uni-koeln.de/color/
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442"]
TITLE_POINTS = 11
LETTER_INCHES = 0.09  # width of a wide letter at the title's size
MARKERS = ["o", "s", "D", "^", "v", "P", "X", "*"]
AGREEMENT = 5e-5  # largest difference of values that agree to four digits


def use_style() -> None:
    """Set fonts, grid and a fixed seed for the names of SVG elements."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(
        {
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#dddddd",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "svg.hashsalt": "qatlab",
            "svg.fonttype": "none",
            "figure.constrained_layout.use": True,
        }
    )


def set_title(figure: Figure, title: str, explanation: str) -> None:
    """Set the study's title and an explanation above all panels, wrapped to the width of the figure."""
    letters = int(figure.get_figwidth() / LETTER_INCHES)
    lines = [line for text in (*title.split("\n"), explanation) for line in textwrap.wrap(text, letters)]
    figure.suptitle("\n".join(lines), fontsize=TITLE_POINTS)


def agreeing_deployments(rows: pd.DataFrame, keys: list[str]) -> dict[str, str]:
    """Group deployments whose values agree to four digits, so that a plot draws them once.

    Args:
        rows: a table with the columns `deploy`, `value` and the keys.
        keys: the columns that name a value of a deployment.

    Returns:
        For the first deployment of each group, the names of all its deployments, joined by commas.
    """
    values = {
        str(deploy): own.groupby(keys, dropna=False)["value"].first().sort_index()
        for deploy, own in rows.groupby("deploy", sort=False)
    }
    groups: dict[str, list[str]] = {}
    for deploy, own in values.items():
        alike = (first for first in groups if own.index.equals(values[first].index))
        equal = (first for first in alike if np.allclose(own, values[first], rtol=0, atol=AGREEMENT, equal_nan=True))
        groups.setdefault(next(equal, deploy), []).append(deploy)
    return {first: ", ".join(deployments) for first, deployments in groups.items()}


def nothing(title: str) -> Figure:
    """Return a placeholder for a plot that no run has results for."""
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.0, 2.0))
    axis.axis("off")
    axis.text(0.5, 0.5, "no run has results for this", ha="center", va="center")
    set_title(figure, title, "nothing to draw")
    return figure


def hide_unused(axes: np.ndarray, used: int) -> list[Axes]:
    """Hide the panels of a grid after the first `used`, and show the x axis of the lowest visible panel in each column.

    Returns:
        The lowest visible panels.
    """
    for axis in axes.flat[used:]:
        axis.set_visible(False)
    lowest = [[axis for axis in column if axis.get_visible()][-1] for column in axes.T]
    for axis in lowest:
        axis.tick_params(axis="x", labelbottom=True)
    return lowest


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write `name`.svg and `name`.png without dates or version strings, and close the figure.

    Dollar signs in texts are literal: they do not start a formula.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    for text in _texts(figure):
        text.set_parse_math(False)
    # Otherwise, each format would compute the layout anew. With a layout engine, even "none", each format is drawn twice.
    figure.draw_without_rendering()
    with mpl.rc_context({"figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
        figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
    plt.close(figure)


def _texts(figure: Figure) -> list[Text]:
    """Return all texts except numeric tick labels, which are formulas on logarithmic axes."""
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter

    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    numbers = [axis for axis in axes if not isinstance(axis.get_major_formatter(), FixedFormatter)]
    ticks = {label for axis in numbers for label in axis.get_ticklabels(which="both")}
    return [text for text in figure.findobj(Text) if isinstance(text, Text) and text not in ticks]


class DrawnFrom:
    """Tables and artifacts of a study.

    Args:
        study: the study's record.
        results: the folder of artifacts.
        tables: the folder of the study's tables.
        missing: artifacts that are missing; plots leave them out, and titles name their runs.
    """

    def __init__(self, study: StudyRecord, results: Path, tables: Path, missing: Missing = WHOLE) -> None:
        self.study, self.results, self.tables, self.missing = study, results, tables, missing
        self.runs = study.runs
        incomplete = incomplete_runs(self.runs, missing)
        lacks = f"\n{in_words(incomplete)}; what they lack is left out" if incomplete else ""
        self.title: str = study.title + lacks
        self.label = main_label(study.main_metrics)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Return the table scores.csv."""
        return pd.read_csv(self.tables / "scores.csv")

    @cached_property
    def search(self) -> pd.DataFrame:
        """Return the table search.csv."""
        return pd.read_csv(self.tables / "search.csv")

    def as_text(self, name: str) -> pd.DataFrame:
        """Return a wide table with all cells as text, exactly as in its file; empty cells are written there as "–"."""
        return pd.read_csv(self.tables / f"{name}.csv", dtype=str, keep_default_na=False)

    @cached_property
    def logs(self) -> dict[str, pd.DataFrame]:
        """Return log.csv of each run that trained, by the run's name, without missing runs."""
        return {
            run.name: pd.read_csv(self.results / run.trained / "log.csv")
            for run in self.runs
            if run.trains and self.missing.status(run.trained) == OK
        }


# Base class of a study's plots, and their registry.
#
# A plot is one class, registered where it is defined. An installed package adds a plot by the entry point `qatlab.plots`; studies that
# name it in `study.plots` have it if its condition holds.


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
    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""


PLOTS: Registry[type[Plot]] = Registry("plot", "qatlab.plots", key="name")


def plots_of(study: StudyRecord) -> dict[str, Plot]:
    """Return the plots that a study has, by name, in their order.

    Raises:
        UserError: if `study.plots` contains a name that no installed package registers.
    """
    return in_place(PLOTS, study.plots, study)
