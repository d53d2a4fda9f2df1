"""Published results beside those of the study."""

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
LETTER_INCHES = 0.08  # width of a letter in a row's label
ROW_INCHES, PANEL_INCHES = 0.24, 3.0
PANEL_COLUMNS = ("deploy", "task", "precision", "metric")  # one panel for each combination
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
    """Draw one panel per published quantity, with one row per method and cell of the matrix.

    Args:
        table: published.csv with all cells as text.
        title: the study's title.
        ours: scale, model and data of the study's own results.
    """
    from matplotlib import pyplot as plt

    panel_columns = [column for column in PANEL_COLUMNS if column in table]
    panels = list(table.groupby(panel_columns, sort=False))
    keys = [column for column in table.columns if column not in (*PANEL_COLUMNS, *FIGURES)]
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
        axis.set_title(textwrap.fill(_title(dict(zip(panel_columns, map(str, names), strict=True))), TITLE_LETTERS))
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    axes[0][0].set_yticks(range(len(rows)), rows)
    axes[0][0].set_ylim(len(rows) - 0.5, -0.5)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    deviation = "; bars: ± standard deviation over seeds" if table["ours"].str.contains("±").any() else ""
    set_title(figure, title, f"published results, and ours at {ours}{deviation}; axes don't begin at 0")
    return figure


def _title(names: dict[str, str]) -> str:
    """Return the title of a panel, without empty names and without 'mean of tasks'."""
    parts = [name for column, name in names.items() if column != "metric" and name not in ("", "–", ALL_TASKS, TEXT)]
    metric = names["metric"]
    metric_name = LABELS.get(metric) or metric_label(metric).replace("_", " ")
    return " · ".join([*parts, metric_name])


def _panel(axis: Axes, panel: pd.DataFrame, keys: list[str], rows: list[str]) -> None:
    at = [rows.index(_label(row)) for row in panel[keys].to_dict("records")]
    ours = panel["ours"].str.partition(" (")[0].str.partition(" ± ")  # without the note on missing seeds
    values, deviations = (pd.to_numeric(ours[part], errors="coerce") for part in (0, 2))
    axis.errorbar(values, at, xerr=deviations.fillna(0), fmt="o", color=COLOURS[0], capsize=2, label="ours")
    theirs = pd.to_numeric(panel["published"], errors="coerce")
    axis.plot(theirs, at, "D", color=COLOURS[3], fillstyle="none", markeredgewidth=1.5, label="published")
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="x", labelrotation=30)


def _label(row: dict[Any, str]) -> str:
    """Return the label of a row, e.g. 'baseline · rows=90000 · batch_size=64'."""
    others = [f"{key.rpartition('.')[2]}={value}" for key, value in row.items() if key != "method"]
    return " · ".join([row["method"], *others])


@PLOTS.register("published")
class PublishedPlot(Plot):
    """Plot of published results and those of the study."""

    place = 10
    title = "published results and ours"
    caption = """\
Published results, and those of this study for the same methods, as mean ± standard deviation over seeds. The title names the scale,
model and data of the study's own results: at a scale other than *full* they answer the same question for another model, and are not
expected to equal the published ones.
"""
    tables = ("published",)

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has results for this plot."""
        return study.stands_for is not None

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        return draw(drawn_from.as_text("published"), drawn_from.title, scale_note(drawn_from.study))
