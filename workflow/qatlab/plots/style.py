"""Common style of all plots: colour-blind safe, legible in print, and the same bytes for the same values."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe & Ito 2008, "Color Universal Design", https://jfly.uni-koeln.de/color/
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442"]
TITLE_POINTS = 11
LETTER_INCHES = 0.09  # width of a wide letter at the title's size
MARKERS = ["o", "s", "D", "^", "v", "P", "X", "*"]


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
    from matplotlib import pyplot as plt

    for text in _texts(figure):
        text.set_parse_math(False)
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
