"""Plot of vector search engines: the difference of each mode from an exact search, and its queries per second."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from qatlab.plots.forest import TALL, draw_difference, verdict_legend
from qatlab.plots.plot import COLOURS, PLOTS, Plot, set_title
from qatlab.study.record import StudyRecord
from qatlab.tables.engines import Engines
from qatlab.tables.names import LOWER_IS_BETTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qatlab.plots.plot import DrawnFrom

VARIANTS = 3  # panels of differences
PANEL_INCHES, ROW_INCHES, LETTER_INCHES = 3.0, 0.2, 0.075
THREAD_LOOKS = {
    1: ("o", COLOURS[4]),
    2: ("s", COLOURS[2]),
}  # marker and colour of queries per second, by the number of threads
NAMES = ["engine", "mode"]


class Row(NamedTuple):
    """One row of the plot: the heading of an engine, for which the mode is empty, or one of its modes."""

    engine: str
    mode: str


def draw_engines(table: pd.DataFrame, search: pd.DataFrame, label: str, title: str, better: str) -> Figure | None:
    """Draw one row per engine and mode, with one panel per variant of embeddings, and one of queries per second.

    Args:
        table: engines.csv, with all cells as text.
        search: search.csv.
        label: name of the metric.
        title: the study's title.
        better: the direction in which values are better: "→" or "←".

    Returns:
        The plot; None if the table has no rows.
    """
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    if table.empty:
        return None
    variants = _variants(table)
    shown = dict(list(variants.items())[:VARIANTS])
    modes: dict[str, list[str]] = {}
    for engine, mode in table[NAMES].drop_duplicates().itertuples(index=False):
        modes.setdefault(engine, []).append(mode)
    rows = [Row(engine, mode) for engine in modes for mode in ("", *modes[engine])]
    widest = max(len(row.mode or row.engine) for row in rows)
    figure, axes = plt.subplots(
        1,
        len(shown) + 1,
        figsize=(1.0 + LETTER_INCHES * widest + PANEL_INCHES * (len(shown) + 1), 2.6 + ROW_INCHES * len(rows)),
        sharey=True,
    )
    for axis, (name, own) in zip(axes, shown.items(), strict=False):
        cells = {Row(row["engine"], row["mode"]): row for row in own.to_dict("records")}
        axis.axvline(0, color="black", linewidth=1)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        for at, row in enumerate(rows):
            if row in cells:
                draw_difference(axis, at, cells[row])
        axis.set_title(name)
        axis.set_xlabel(f"difference in {label} ({better} better)")
    _draw_speeds(axes[-1], rows, search)
    for axis in axes:
        _style(axis, rows)
    axes[0].set_yticks(range(len(rows)), [row.mode or row.engine for row in rows])
    for tick, row in zip(axes[0].get_yticklabels(), rows, strict=True):
        tick.set_fontweight("normal" if row.mode else "bold")
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    figure.legend(
        handles=[*verdict_legend(), *axes[-1].get_legend_handles_labels()[0]], loc="outside lower center", ncols=5
    )
    first = f"; the first {VARIANTS} of {len(variants)} variants" if len(variants) > VARIANTS else ""
    explanation = (
        "differences from an exact search of the same codes, or of float32 where the engine makes the codes or scores again; "
        f"bars: 95 % intervals, paired by query and seed{first}"
    )
    set_title(figure, title, explanation)
    return figure


def _variants(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each method, deployment and task, by a name of what differs between them."""
    keys = list(table.columns[: list(table.columns).index("engine")])
    differing = [key for key in keys if table[key].nunique() > 1] or keys[:1]
    named = table[differing].apply(lambda row: " · ".join(row), axis=1)
    return {str(name): own for name, own in table.groupby(named, sort=False)}


def _draw_speeds(axis: Axes, rows: list[Row], search: pd.DataFrame) -> None:
    """Draw the median queries per second of each mode over runs and tasks, by the number of threads that search at once."""
    speeds = search[search["engine"].notna()].groupby([*NAMES, "threads"])["queries_per_second"].median()
    for threads, (marker, colour) in THREAD_LOOKS.items():
        values = [speeds.get((*row, threads), np.nan) for row in rows]
        name = f"{threads} thread{'s' if threads > 1 else ''}"
        axis.plot(values, range(len(rows)), marker, color=colour, markersize=5, linestyle="none", label=name)
    axis.set_xscale("log")
    axis.set_title("speed")
    axis.set_xlabel("queries per second (log scale)")


def _style(axis: Axes, rows: list[Row]) -> None:
    for at, row in enumerate(rows):
        if not row.mode:
            axis.axhspan(at - 0.5, at + 0.5, color="#f0f0f0", zorder=0)
    axis.tick_params(axis="x", top=len(rows) > TALL, labeltop=len(rows) > TALL)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)


@PLOTS.register("engines")
class EnginesPlot(Plot):
    """Plot of what vector search engines lose against exact searches, and how fast they are."""

    place = 65
    title = "vector search engines: difference from an exact search, and speed"
    caption = """\
The difference of each engine and mode from qatlab's exact search of the same codes, or of the float32 embeddings where the engine makes
the codes or scores candidates again, with its 95 % interval, paired by query and seed. Beside it are the queries per second with one and
two threads, which search one query each.
"""
    tables = ("engines",)

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study measures engines."""
        return Engines().wanted(study)

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        better = "←" if set(drawn_from.study.main_metrics.values()) <= set(LOWER_IS_BETTER) else "→"
        return draw_engines(
            drawn_from.as_text("engines"), drawn_from.search, drawn_from.label, drawn_from.title, better
        )
