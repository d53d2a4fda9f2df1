"""Published figures and the study's own, side by side."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import pandas as pd

from qatlab.plots.plot import PLOTS, Plot
from qatlab.plots.style import COLOURS, set_title
from qatlab.study.record import StudyRecord
from qatlab.tables.names import TEXT, metric_label
from qatlab.tables.published import ALL_TASKS, scale_note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qatlab.plots.drawn_from import DrawnFrom

COLUMNS = 3
TITLE_LETTERS = 34
LETTER_INCHES = 0.08  # of a row's label
ROW_INCHES, PANEL_INCHES = 0.24, 3.0
WHAT = ("deploy", "task", "precision", "metric")  # a panel for each
LABELS = {
    "min": "least cosine similarity",
    "max": "greatest cosine similarity",
    "mean": "mean cosine similarity",
    "mean_distance": "mean cosine distance",
    "peak_memory_mb": "peak memory (MB)",
    "train_seconds": "seconds of training",
}
FIGURES = ("published", "ours", "ours − published", "note")


def draw(table: pd.DataFrame, title: str, ours: str) -> Figure:
    """A panel for each figure, a row for each method and whatever else the matrix varies.

    Args:
        table: published.csv with all cells as text.
        title: the study's.
        ours: what the study's own figures are of.
    """
    from matplotlib import pyplot as plt

    what = [column for column in WHAT if column in table]
    panels = list(table.groupby(what, sort=False))
    keys = [column for column in table.columns if column not in (*WHAT, *FIGURES)]
    rows: list[str] = list(dict.fromkeys(map(_label, table[keys].to_dict("records"))))
    columns = min(COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    height = 1.6 + lines * (0.9 + ROW_INCHES * max(len(rows), 3))
    margin = LETTER_INCHES * max(map(len, rows))
    figure, axes = plt.subplots(
        lines, columns, figsize=(margin + PANEL_INCHES * columns, height), sharey=True, squeeze=False
    )
    for axis, (names, panel) in zip(axes.flat, panels, strict=False):
        _panel(axis, panel, keys, rows)
        axis.set_title(textwrap.fill(_title(dict(zip(what, map(str, names), strict=True))), TITLE_LETTERS))
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    axes[0][0].set_yticks(range(len(rows)), rows)
    axes[0][0].set_ylim(len(rows) - 0.5, -0.5)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    deviation = "; bars: ± standard deviation over seeds" if table["ours"].str.contains("±").any() else ""
    set_title(figure, title, f"published figures, and ours at {ours}{deviation}; axes don't begin at 0")
    return figure


def _title(names: dict[str, str]) -> str:
    """Of a panel: what its figures are of; that they are means of the tasks goes without saying."""
    of = [name for what, name in names.items() if what != "metric" and name not in ("", "–", ALL_TASKS, TEXT)]
    metric = names["metric"]
    called = LABELS.get(metric) or metric_label(metric).replace("_", " ")
    return " · ".join([*of, called])


def _panel(axis: Axes, panel: pd.DataFrame, keys: list[str], rows: list[str]) -> None:
    at = [rows.index(_label(row)) for row in panel[keys].to_dict("records")]
    ours = panel["ours"].str.partition(" (")[0].str.partition(" ± ")  # without what it lacks
    values, deviations = (pd.to_numeric(ours[part], errors="coerce") for part in (0, 2))
    axis.errorbar(values, at, xerr=deviations.fillna(0), fmt="o", color=COLOURS[0], capsize=2, label="ours")
    theirs = pd.to_numeric(panel["published"], errors="coerce")
    axis.plot(theirs, at, "D", color=COLOURS[3], fillstyle="none", markeredgewidth=1.5, label="published")
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="x", labelrotation=30)


def _label(row: dict[Any, str]) -> str:
    """The method, then what else varies: 'baseline · rows=90000 · batch_size=64'."""
    others = [f"{key.rpartition('.')[2]}={value}" for key, value in row.items() if key != "method"]
    return " · ".join([row["method"], *others])


@PLOTS.register("published")
class PublishedPlot(Plot):
    """Plot of published figures and the study's own."""

    place = 10
    title = "published figures and ours"
    caption = """\
Figures that others published, and this study's own of the same methods, as mean ± standard deviation over seeds. The title says
at which scale, on which model and data the study's own are: at another scale than *full* they ask the same question of another
model, and are not to be expected to be the same figures.
"""
    tables = ("published",)

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
        return study.stands_for is not None

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None where every run is missing of it."""
        return draw(drawn_from.as_text("published"), drawn_from.title, scale_note(drawn_from.study))
