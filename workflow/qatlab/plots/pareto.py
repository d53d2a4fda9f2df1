"""Bytes, quality and speed of outputs, one panel per deployment; outputs that no other output beats are numbered and named."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from qatlab.evaluation.outputs import FITTED_ON
from qatlab.plots.plot import COLOURS, MARKERS, PLOTS, Plot, agreeing_deployments, set_title
from qatlab.quantization.precisions import PRECISIONS
from qatlab.study.record import StudyRecord
from qatlab.tables.names import metric_label
from qatlab.tables.pareto import OUTPUT, points, stored_otherwise, unbeaten
from qatlab.tables.wide import VARIED_PREFIX, row_keys

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.transforms import Bbox

    from qatlab.plots.plot import DrawnFrom

PANELS, PER_ROW = 4, 2
OTHER_HEIGHT = 2.8  # inches: five lines of a title, and a legend of five
PANEL_WIDTH, PANEL_HEIGHT, LINE_HEIGHT = 4.6, 3.1, 0.15  # inches
ENTRY_WIDTH = 2.1  # width of a legend entry in inches
LETTERS = 66  # letters per line below a panel
TITLE_LETTERS = 48  # letters per line of a panel's title
SMALLEST, LARGEST = 5.0, 13.0  # widths of markers in points
LABEL_POINTS = 8
SOURCES = {"training": "training texts", "corpus": "the corpus"}  # words for the values of `fitted_on`
LINES: dict[str, Literal["-", "--", ":"]] = {"none": "-", "training": "--", "corpus": ":"}


def draw(scores: pd.DataFrame, search: pd.DataFrame, metric: str, title: str) -> Figure | None:
    """Draw the points of `qatlab.tables.pareto.points`, with one panel for each of the first PANELS deployments.

    Deployments whose values agree to four digits share a panel, whose title names all of them.

    Args:
        scores: scores.csv.
        search: search.csv.
        metric: the metric whose mean is drawn.
        title: the study's title.

    Returns:
        The plot; None if there are no points.
    """
    table = points(scores, search, metric)
    if table.empty:
        return None
    deployments = agreeing_deployments(table, [*row_keys(scores), *OUTPUT])
    shown = table[table["deploy"].isin(list(deployments)[:PANELS])]
    numbered = {str(deploy): _numbered(rows, row_keys(scores)) for deploy, rows in shown.groupby("deploy", sort=False)}
    looks = _Looks(shown)
    figure, panels = _panels([len(names) for _, names in numbered.values()])
    for (axis, below), deploy in zip(panels, numbered, strict=True):
        of_panel, names = numbered[deploy]
        looks.draw(axis, shown[shown["deploy"] == deploy])
        axis.set_title(textwrap.fill(deployments[deploy], TITLE_LETTERS))
        below.text(0, 1, "\n".join(names), va="top", fontsize=LABEL_POINTS, linespacing=1.25).set_in_layout(False)
        below.axis("off")
    _label_axes([axis for axis, _ in panels], shown, scores, metric)
    figure.legend(
        handles=list(looks.legend()),
        loc="outside lower center",
        ncols=int(figure.get_figwidth() / ENTRY_WIDTH),
        fontsize=9,
    )
    first = f"; the first {PANELS} of {len(deployments)} deployments" if len(deployments) > PANELS else ""
    selection = f"each output by the method that scores best (others grey){first}"
    rule = "" if looks.sources == [FITTED_ON[0]] else ", and fitted on no more"
    legend = f"numbered: none is smaller, better and faster{rule}; line: none is smaller and better"
    set_title(figure, title, f"{selection}; {legend}")
    figure.draw_without_rendering()  # places the panels, so that labels can be placed in them
    for (axis, _), (of_panel, _) in zip(panels, numbered.values(), strict=True):
        _place_numbers(axis, of_panel, shown[(shown["deploy"] == of_panel["deploy"].iloc[0]) & shown["best"]], looks)
    return figure


class _Looks:
    """Appearance of points: colour, shape and size.

    The colour is the documents' precision in the index that is searched first, the shape the number of documents that are rescored,
    and the size the number of queries per second.
    """

    def __init__(self, shown: pd.DataFrame) -> None:
        best = shown[shown["best"]]
        precisions = [precision for precision in PRECISIONS if precision in set(best["doc_precision"])]
        self.colours = {precision: COLOURS[n % len(COLOURS)] for n, precision in enumerate(precisions)}
        self.markers = {depth: MARKERS[n % len(MARKERS)] for n, depth in enumerate(sorted(set(best["depth"])))}
        self.sources = [source for source in FITTED_ON if source in set(best["fitted_on"])]
        self.speeds = (best["queries_per_second"].min(), best["queries_per_second"].max())

    def size(self, speed: float) -> float:
        """Return the width of a marker in points, linear in the logarithm of queries per second."""
        low, high = np.log10(self.speeds)
        share = (np.log10(speed) - low) / (high - low) if high > low else 0.5
        return float(SMALLEST + share * (LARGEST - SMALLEST))

    def draw(self, axis: Axes, rows: pd.DataFrame) -> None:
        """Draw all points of a panel, and the lines of the frontier."""
        others, best = rows[~rows["best"]], rows[rows["best"]]
        axis.plot(others["bytes"], others["value"], ".", color="#bbbbbb", markersize=4, zorder=1)
        for source in self.sources:
            known = best[best["fitted_on"].map(FITTED_ON.index) <= FITTED_ON.index(source)]
            # Among outputs fitted on the same data or less, those that are smaller and better beat the others.
            line = known[unbeaten(known.assign(fitted_on=source), False)].sort_values("bytes")
            style = LINES[source]
            axis.plot(line["bytes"], line["value"], style, color="black", linewidth=1, drawstyle="steps-post", zorder=2)
        for row in best.sort_values("queries_per_second", ascending=False).to_dict("records"):
            axis.plot(
                row["bytes"],
                row["value"],
                self.markers[row["depth"]],
                color=self.colours[row["doc_precision"]],
                markersize=self.size(row["queries_per_second"]),
                markeredgecolor="black" if row["on_frontier"] else "white",
                markeredgewidth=0.8,
                alpha=1.0 if row["on_frontier"] else 0.6,
                zorder=3,
            )

    def legend(self) -> Iterator[Line2D]:
        """Yield one legend entry for each colour, each shape, some sizes and each line."""
        from matplotlib.lines import Line2D

        for precision, colour in self.colours.items():
            yield _entry("o", colour, 7, f"{precision} documents")
        for depth, marker in self.markers.items() if set(self.markers) != {0} else ():
            yield _entry(marker, "#888888", 7, f"best {depth:.0f} rescored" if depth else "no rescoring")
        for speed in dict.fromkeys(float(f"{s:.1g}") for s in np.geomspace(*self.speeds, 3)):
            yield _entry(
                "o", "#888888", self.size(min(max(speed, self.speeds[0]), self.speeds[1])), f"{speed:,.0f} queries/s"
            )
        for source in self.sources:
            fitted = "" if source == FITTED_ON[0] else f",\nalso fitted on {SOURCES[source]}"
            label = f"frontier of bytes and quality{fitted}"
            yield Line2D([], [], color="black", linestyle=LINES[source], linewidth=1, label=label)


def _entry(marker: str, colour: str, size: float, label: str) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], marker=marker, color=colour, markersize=size, linestyle="none", label=label)


def _numbered(rows: pd.DataFrame, keys: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the frontier of a panel in ascending order of bytes, and its numbered names in lines that fit below the panel."""
    frontier = rows[rows["on_frontier"]].sort_values(["bytes", "value"], kind="stable")
    frontier = frontier.assign(number=range(1, len(frontier) + 1))
    lines = []
    for row in frontier.to_dict("records"):
        rotation = "" if row["rotation"] == "none" else f"{row['rotation']}: "
        # Untrained models have no value in some columns.
        varied = [key for key in keys[1:] if row[key] != "" and not pd.isna(row[key])]
        whose = [row["method"], *(f"{key.removeprefix(VARIED_PREFIX)}={row[key]}" for key in varied)]
        text = f"{rotation}{row['output']} ({', '.join(whose)})"
        lines += textwrap.wrap(text, LETTERS, initial_indent=f"{row['number']}  ", subsequent_indent="     ")
    return frontier, lines


def _panels(lines: list[int]) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Create the axes of each panel and of the names below it; `lines` holds the number of lines of names per panel."""
    from matplotlib import pyplot as plt

    columns = min(len(lines), PER_ROW)
    heights: list[float] = []
    for first in range(0, len(lines), columns):
        heights += [PANEL_HEIGHT, LINE_HEIGHT * max(lines[first : first + columns]) + 0.1]
    figure = plt.figure(figsize=(0.6 + max(PANEL_WIDTH * columns, 6.0), OTHER_HEIGHT + sum(heights)))
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    panels: list[tuple[Axes, Axes]] = []
    for number in range(len(lines)):
        row, column = divmod(number, columns)
        like = panels[0][0] if panels else None
        axis = figure.add_subplot(grid[2 * row, column], sharex=like, sharey=like)
        panels.append((axis, figure.add_subplot(grid[2 * row + 1, column])))
    return figure, panels


def _label_axes(axes: list[Axes], shown: pd.DataFrame, scores: pd.DataFrame, metric: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    tasks = scores.loc[scores["metric"] == metric, "task"].nunique()
    axes[0].set_xscale("log", base=2)
    sizes = sorted(set(shown["bytes"]))
    axes[0].set_xlim(sizes[0] / 1.4, sizes[-1] * 1.6)
    axes[0].xaxis.set_major_locator(LogLocator(base=2))
    axes[0].xaxis.set_minor_locator(NullLocator())
    axes[0].xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    axes[0].margins(y=0.12)
    for number, axis in enumerate(axes):
        axis.set_xlabel("bytes stored per document (log scale)")
        if number % PER_ROW == 0:
            axis.set_ylabel(f"{metric_label(metric)}, mean of {tasks} task{'s' if tasks > 1 else ''}")


def _place_numbers(axis: Axes, frontier: pd.DataFrame, best: pd.DataFrame, looks: _Looks) -> None:
    """Draw numbers beside their points without overlapping points or other numbers; a thin line leads to distant ones."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    pixels = figure.dpi / 72
    places = axis.transData.transform(best[["bytes", "value"]].to_numpy(dtype=float))
    widths = [looks.size(speed) * pixels for speed in best["queries_per_second"]]
    taken = [_box(place, width, width) for place, width in zip(places, widths, strict=True)]
    for row in frontier.to_dict("records"):
        at, radius = (row["bytes"], row["value"]), looks.size(row["queries_per_second"]) / 2
        text = str(row["number"])
        size = (LABEL_POINTS * 0.62 * len(text) + 2) * pixels, (LABEL_POINTS * 0.9 + 1) * pixels
        offset, box = _free_place(axis.transData.transform(at), radius, size, pixels, axis.get_window_extent(), taken)
        taken.append(box)
        far = np.hypot(*offset) > radius + 12
        axis.annotate(
            text,
            at,
            xytext=offset,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=LABEL_POINTS,
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 3, "shrinkB": 0} if far else None,
            zorder=4,
        ).set_in_layout(False)


def _free_place(
    point: np.ndarray, radius: float, size: tuple[float, float], pixels: float, panel: Bbox, taken: list[Bbox]
) -> tuple[tuple[float, float], Bbox]:
    """Return the nearest offset at which a box overlaps nothing, or the furthest offset if every one overlaps, and the box.

    Args:
        point: position in pixels, (2,).
        radius: radius of the point's marker in points.
        size: width and height of the box in pixels.
        pixels: pixels per point.
        panel: box of the panel in pixels.
        taken: boxes in pixels that must not be overlapped.

    Returns:
        The offset in points, and the box in pixels.
    """
    offset, box = (0.0, 0.0), panel
    for offset in _around(radius):
        box = _box(point + np.array(offset) * pixels, *size)
        inside = panel.x0 <= box.x0 and box.x1 <= panel.x1 and panel.y0 <= box.y0 and box.y1 <= panel.y1
        if inside and not any(box.overlaps(other) for other in taken):
            break
    return offset, box


def _box(centre: np.ndarray, width: float, height: float) -> Bbox:
    from matplotlib.transforms import Bbox

    half = np.array([width, height]) / 2
    return Bbox([centre - half, centre + half])


def _around(radius: float) -> Iterator[tuple[float, float]]:
    """Yield offsets in points in eight directions, at growing distances; first above and to the left, where a frontier leaves room."""
    for distance in range(7, 80, 6):
        for degrees in (135, 90, 180, 45, 225, 0, 270, 315):
            angle = np.radians(degrees)
            yield (radius + distance) * np.cos(angle), (radius + distance) * np.sin(angle)


@PLOTS.register("pareto")
class ParetoPlot(Plot):
    """Plot of bytes, quality and speed."""

    place = 70
    title = "bytes, quality and speed"
    caption = """\
Quality against bytes per document, copies for rescoring included: for each deployment and output, the method that scores best, with
queries per second as the size of its point; deployments that agree to four digits share a panel. The numbered outputs are those that
no other output of the same deployment beats by being smaller, better and faster, where one that was fitted on more of the searched
data beats only its like; the table ``pareto`` explains the rule.
"""
    tables = ()

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study searches embeddings at more than one output."""
        return stored_otherwise(study)

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        metric = drawn_from.study.primary_metric
        return draw(drawn_from.scores, drawn_from.search, metric, drawn_from.title)
