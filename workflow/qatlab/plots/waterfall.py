"""Waterfall of the decomposition: from the float model, component by component, to the shipped deployment."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qatlab.plots.plot import PLOTS, Plot
from qatlab.plots.style import COLOURS, set_title
from qatlab.statistics import NOT_SEPARABLE
from qatlab.study.record import StudyRecord
from qatlab.tables.names import TOTAL, metric_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from qatlab.plots.drawn_from import DrawnFrom

BAR_INCHES, LABEL_LETTERS = 0.9, 12
BAR_WIDTH = 0.7
LEVEL, LOSS, GAIN = COLOURS[0], COLOURS[3], COLOURS[2]
PALE = 0.4  # saturation of components that are not separable from 0
ROOM = 0.2  # margin above and below the bars, as a share of their range
SLASH = [(-1, -0.6), (1, 0.6)]  # mark across an axis that does not begin at 0


def draw(table: pd.DataFrame, metric: str, title: str) -> Figure:
    """Draw one panel per chain.

    Args:
        table: decomposition.csv with all cells as text.
        metric: name of the metric of the table.
        title: the study's title.
    """
    from matplotlib import pyplot as plt

    keys = _keys(table)
    chains = list(table.groupby(keys, sort=False))
    bars = max(len(chain) for _, chain in chains)
    size = (1.4 + BAR_INCHES * bars, 1.2 + 3.3 * len(chains))
    figure, axes = plt.subplots(len(chains), 1, figsize=size, squeeze=False)
    for axis, (names, chain) in zip(axes.flat, chains, strict=True):
        _panel(axis, chain.reset_index(drop=True))
        axis.set_xlim(-0.6, bars - 0.4)  # so that a component is at the same position in all panels
        axis.set_title(" · ".join(str(name) for name in names if name))
        axis.set_ylabel(f"{metric_label(metric)}, mean of the tasks")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4)
    explanation = "from float to shipped; whiskers: 95 % interval of each difference; axes don't begin at 0"
    set_title(figure, title, explanation)
    return figure


def complete_chains(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of chains that have all their levels."""
    if "component" not in table:
        return table.iloc[:0]
    lacks = pd.to_numeric(table["value"], errors="coerce").isna()
    return table[~lacks.groupby([table[key] for key in _keys(table)]).transform("any")]


def _keys(table: pd.DataFrame) -> list[str]:
    """Return the columns that identify a chain."""
    return list(table.columns[: list(table.columns).index("component")])


def _panel(axis: Axes, chain: pd.DataFrame) -> None:
    from matplotlib.colors import to_rgb

    levels = chain.value.astype(float).to_numpy()
    last, steps = len(levels) - 1, range(1, len(levels) - 1)
    whiskers = {at: levels[at - 1] + _interval(chain["95 % interval"][at]) for at in steps}
    drawn = np.concatenate([levels, *whiskers.values()])
    low, high = np.nanmin(drawn), np.nanmax(drawn)
    room = ROOM * max(high - low, 0.001)
    bottom = max(low - room, 0)
    for at in (0, last):
        axis.bar(at, levels[at] - bottom, BAR_WIDTH, bottom, color=LEVEL)
        _write(axis, at, levels[at], f"{levels[at]:.4f}")
    for at in steps:
        change = levels[at] - levels[at - 1]
        full = GAIN if change > 0 else LOSS
        colour = _pale(full) if chain.verdict[at] == NOT_SEPARABLE else to_rgb(full)
        axis.bar(at, change, BAR_WIDTH, levels[at - 1], color=colour)
        axis.vlines(at, *whiskers[at], color="black", linewidth=1.2)
        _write(axis, at, np.nanmax([*levels[at - 1 : at + 1], *whiskers[at]]), chain.difference[at])
    for at in range(last):  # connect the end of each bar to the start of the next
        axis.hlines(levels[at], at - BAR_WIDTH / 2, at + 1 + BAR_WIDTH / 2, color="#555555", linewidth=0.8)
    axis.set_xticks(range(len(levels)), [_tick(row) for row in chain.to_dict("records")])
    axis.set_ylim(bottom, high + room)
    axis.grid(axis="x", visible=False)
    if bottom > 0:
        axis.plot(0, 0.05, marker=SLASH, markersize=12, color="black", transform=axis.transAxes, clip_on=False)


def _interval(cell: str) -> np.ndarray:
    """Parse '-0.0120 to +0.0031' into its ends, (2,); NaN if the cell has no interval."""
    low, _, high = cell.partition(" to ")
    return np.array([float(low), float(high)]) if high else np.full(2, np.nan)


def _write(axis: Axes, at: int, height: float, text: str) -> None:
    axis.annotate(_typeset(text), (at, height), (0, 3), textcoords="offset points", ha="center", va="bottom")


def _tick(row: dict[Any, Any]) -> str:
    if row["component"] == TOTAL:
        return f"shipped\n({_typeset(row['difference'])})"
    return textwrap.fill(row["component"], LABEL_LETTERS, break_long_words=False)


def _typeset(number: str) -> str:
    return number.replace("-", "−")


def _legend() -> list[Patch]:
    from matplotlib.patches import Patch

    return [
        Patch(color=LEVEL, label="level"),
        Patch(color=LOSS, label="loss"),
        Patch(color=GAIN, label="gain"),
        Patch(color=_pale(LOSS), label="pale: not separable from 0"),
    ]


def _pale(colour: str) -> tuple[float, float, float]:
    """Mix a colour with white, instead of transparency, which would show what is behind the bar."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1 - PALE * (1 - part) for part in to_rgb(colour))
    return red, green, blue


@PLOTS.register("waterfall")
class WaterfallPlot(Plot):
    """Plot of what quantization costs, component by component."""

    place = 60
    title = "what quantization costs, by component"
    caption = """\
The table ``decomposition`` as a picture, one panel for each deployment and output precision: from the float model on the left, each
component lowers or raises the metric, down to the shipped deployment on the right. Bars of components have the 95 % interval of their
own difference. The axis does not begin at 0: compare the tops of the first and last bar, not their heights.
"""
    tables = ("decomposition",)

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has results for this plot."""
        return any(run.chains for run in study.runs)

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        steps = complete_chains(drawn_from.as_text("decomposition"))
        return draw(steps, drawn_from.study.primary_metric, drawn_from.title) if len(steps) else None
