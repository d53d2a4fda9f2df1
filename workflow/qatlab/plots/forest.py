"""Forest plot: paired differences of scores from the baseline and from float, with intervals and verdicts."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from qatlab.plots.plot import COLOURS, PLOTS, Plot, set_title
from qatlab.statistics import BETTER, NOT_SEPARABLE, WORSE
from qatlab.study.record import StudyRecord
from qatlab.tables.differences import DIFFERENCE, SIZES, AgainstBaseline, AgainstFloat
from qatlab.tables.names import LOWER_IS_BETTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qatlab.plots.plot import DrawnFrom

GROUPS = {"against_baseline": AgainstBaseline, "against_float": AgainstFloat}
# Columns that name a row of these tables, from the outermost heading to the row's own label.
BLOCK, DEPLOY = ("integer kernel", "rotation", "output precision"), "deploy"
LOOKS = {  # colour and marker of each verdict: blue and vermilion differ for all kinds of colour vision
    BETTER: (COLOURS[0], "^", "better"),
    WORSE: (COLOURS[3], "v", "worse"),
    NOT_SEPARABLE: ("#666666", "o", "not separable from 0"),
}
PANEL_INCHES, ROW_INCHES, LETTER_INCHES = 3.1, 0.2, 0.075
TALL = 25  # rows above which the x axis is also labelled at the top
LABEL_LETTERS = 62  # letters of the longest label of a row; the rest is replaced by "…"


class Row(NamedTuple):
    """One row of the plot: a heading, or a method and its deployments, with its cells by table."""

    label: str
    is_heading: bool
    cells: dict[str, dict[Any, str]]


def draw_forest(
    tables: dict[str, pd.DataFrame], titles: dict[str, str], title: str, baseline: str, better: str
) -> Figure | None:
    """Draw one row per method, deployment and output, with one panel per table; deployments with equal cells share a row.

    Args:
        tables: against_baseline.csv, against_float.csv or both, by name, with all cells as text.
        titles: titles of the panels, by name of the table.
        title: the study's title.
        baseline: the method that comes first in each block.
        better: the direction in which values are better: "→" or "←".

    Returns:
        The plot; None if the tables have no rows.
    """
    from matplotlib import pyplot as plt

    rows = _rows(tables, baseline)
    if not rows:
        return None
    widest = max(len(row.label) for row in rows)
    figure, axes = plt.subplots(
        1,
        len(tables),
        figsize=(1.0 + LETTER_INCHES * widest + PANEL_INCHES * len(tables), 2.3 + ROW_INCHES * len(rows)),
        sharey=True,
        squeeze=False,
    )
    for axis, name in zip(axes.flat, tables, strict=True):
        _panel(axis, rows, name)
        axis.set_title(textwrap.fill(titles[name], int(PANEL_INCHES / LETTER_INCHES)))
        axis.set_xlabel(f"difference, absolute ({better} better)")
    first = axes.flat[0]
    first.set_yticks(range(len(rows)), [row.label for row in rows])
    for tick, row in zip(first.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row.is_heading else "normal")
    first.set_ylim(len(rows) - 0.4, -0.6)
    figure.legend(handles=verdict_legend(), loc="outside lower center", ncols=3)
    explanation = "bars: 95 % intervals, paired by query and seed; better or worse where Holm’s p-value agrees"
    set_title(figure, title, explanation)
    return figure


def _rows(tables: dict[str, pd.DataFrame], baseline: str) -> list[Row]:
    """Return all rows in blocks of one output each; where there is one output, in blocks of one deployment each."""
    cells: dict[tuple[str, str, str], dict[str, dict[Any, str]]] = {}
    in_outputs = any("output precision" in table for table in tables.values())
    for name, table in tables.items():
        keys = list(table.columns[: list(table.columns).index("value")]) if "value" in table else []
        for row in table.to_dict("records"):
            block = " · ".join(row[key] for key in BLOCK if row.get(key, "none") not in ("none", ""))
            others = [f"{key.rpartition('.')[2]}={row[key]}" for key in keys[1:] if key not in (*BLOCK, DEPLOY, SIZES)]
            whose = " · ".join([row["method"], *others])
            at = (block, whose, row[DEPLOY]) if in_outputs else (row[DEPLOY], whose, "")
            cells.setdefault(at, {})[name] = row
    blocks: dict[str, dict[str, dict[str, dict[str, dict[Any, str]]]]] = {}
    for (block, whose, deploy), of_row in cells.items():
        blocks.setdefault(block, {}).setdefault(whose, {})[deploy] = of_row
    rows: list[Row] = []
    for block, methods in blocks.items():
        rows.append(Row(_shortened(block), True, {}))
        for whose, deployments in sorted(methods.items(), key=lambda item: item[0].partition(" · ")[0] != baseline):
            rows += [
                Row(_shortened(" · ".join(filter(None, (whose, ", ".join(names), _sizes(of_row))))), False, of_row)
                for names, of_row in _alike(deployments)
            ]
    return rows


def _sizes(of_row: dict[str, dict[Any, str]]) -> str:
    """Return the bytes of a row that differ from those of the baseline, such as "128 instead of 48 bytes"; else an empty string."""
    sizes = next((row[SIZES] for row in of_row.values() if row.get(SIZES)), "")
    return sizes and f"{sizes} bytes"


def _alike(deployments: dict[str, dict[str, dict[Any, str]]]) -> list[tuple[list[str], dict[str, dict[Any, str]]]]:
    """Return the deployments whose values, differences, intervals and verdicts are equal in all tables, with these cells."""
    groups: dict[str, tuple[list[str], dict[str, dict[Any, str]]]] = {}
    for name, cells in deployments.items():
        key = repr([(table, {k: v for k, v in row.items() if k != DEPLOY}) for table, row in cells.items()])
        groups.setdefault(key, ([], cells))[0].append(name)
    return list(groups.values())


def _shortened(label: str) -> str:
    return label if len(label) <= LABEL_LETTERS else label[: LABEL_LETTERS - 1] + "…"


def _panel(axis: Axes, rows: list[Row], name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.axvline(0, color="black", linewidth=1)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.tick_params(axis="x", top=len(rows) > TALL, labeltop=len(rows) > TALL)
    for at, row in enumerate(rows):
        if row.is_heading:
            axis.axhspan(at - 0.5, at + 0.5, color="#f0f0f0", zorder=0)
        elif name in row.cells:
            draw_difference(axis, at, row.cells[name])
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)


def draw_difference(axis: Axes, at: int, cells: dict[Any, str]) -> None:
    """Draw a difference with its interval and verdict in row `at`, from the cells of a table of differences, or the status of its lack."""
    colour, marker, _ = LOOKS.get(cells["verdict"], ("", "", ""))
    if not marker:  # the status of missing results
        axis.annotate(cells["verdict"], (0, at), (4, 0), textcoords="offset points", va="center", fontsize=8)
        return
    low, _, high = cells["95 % interval"].partition(" to ")
    if high:  # a single query has no interval
        axis.hlines(at, float(low), float(high), color=colour, linewidth=1.8)
    filled = colour if cells["verdict"] != NOT_SEPARABLE else "white"
    axis.plot(float(cells[DIFFERENCE]), at, marker, color=colour, markerfacecolor=filled, markersize=6)


def verdict_legend() -> list[Any]:
    """Return one legend entry for each verdict."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, marker=marker, label=label, markerfacecolor="white" if marker == "o" else colour)
        for colour, marker, label in LOOKS.values()
    ]


@PLOTS.register("forest")
class ForestPlot(Plot):
    """Plot of the paired differences of each method, deployment and output from the baseline and from float."""

    place = 5
    title = "paired differences from the baseline and from float"
    caption = """\
The difference of each method from the baseline, both shipped alike, and of what is shipped from the same model's float results, each
with its 95 % interval, paired by query and seed. A triangle marks a difference that interval and corrected p-value agree on; a hollow
circle marks one that has not been shown to differ from 0.
"""
    tables = tuple(GROUPS)

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has a table of differences."""
        return bool(_names(study))

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        study, label = drawn_from.study, drawn_from.label
        tables = {name: drawn_from.as_text(name) for name in _names(study)}
        titles = {
            "against_baseline": f"{label}: each method less {study.baseline}",
            "against_float": f"{label}: as shipped less float",
        }
        better = "←" if set(study.main_metrics.values()) <= set(LOWER_IS_BETTER) else "→"
        return draw_forest(tables, titles, drawn_from.title, study.baseline, better)


def _names(study: StudyRecord) -> list[str]:
    """Return the names of the tables of differences that a study has."""
    return [name for name, table in GROUPS.items() if table().wanted(study)]
