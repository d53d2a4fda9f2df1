"""Main metric by method, and by output precision or deployment."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qatlab.plots.plot import PLOTS, Plot
from qatlab.plots.style import COLOURS, MARKERS, set_title
from qatlab.study.record import StudyRecord
from qatlab.tables.labels import main_scores, on_axes, output_labels
from qatlab.tables.missing import OK, STATUS
from qatlab.tables.wide import VARIED_PREFIX

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qatlab.plots.drawn_from import DrawnFrom

LEAST_WIDTH, ENTRY_INCHES = 6.0, 1.9  # least width in inches; width of a legend entry
LETTERS_UPWARDS = 48  # letters per line of the y axis's label
LETTERS_SLANTED = 22  # letters per line of an output's name
LETTER_INCHES = 0.09  # width of a letter in labels of the x axis, which are horizontal if they are few


def draw(scores: pd.DataFrame, metric: str, title: str, label: str, methods: Sequence[str] = ()) -> Figure:
    """Draw means over tasks and seeds, with 95 % intervals over queries (normal approximation).

    There is one column of panels per deployment, and one row per combination of the matrix besides method and seed. If there is
    only one output, as for causal language models, the deployments are drawn beside one another in one panel.

    Args:
        scores: scores.csv.
        metric: the metric whose rows are drawn.
        title: the study's title.
        label: label of the metric on the y axis.
        methods: the methods in order, by default those of the rows. A method without rows keeps its position, colour and marker.
    """
    from matplotlib import pyplot as plt

    chosen = scores[scores["metric"] == metric]
    chosen = chosen.assign(output=output_labels(chosen), panel=chosen["deploy"])
    place, axis_label = "output", "output precision"
    if chosen["output"].nunique() == 1:
        place, axis_label = "deploy", "shipped as"
        chosen = chosen.assign(panel="")
    panels, places = (list(dict.fromkeys(chosen[c])) for c in ("panel", place))
    methods = methods or list(dict.fromkeys(chosen["method"]))
    rows = _varied(chosen)
    width, height = 3.2 * max(1.0, len(places) / 4), 4.4 if len(places) <= 4 else 5.4
    if len(places) <= 3:
        width = max(width, LETTER_INCHES * len(places) * max(map(len, places)))
    figure, axes = plt.subplots(
        len(rows),
        len(panels),
        figsize=(max(1.6 + width * len(panels), LEAST_WIDTH), 1.2 + (height - 1.2) * len(rows)),
        sharey=True,
        squeeze=False,
    )
    for line, (name, of_row) in zip(axes, rows, strict=True):
        for axis, panel in zip(line, panels, strict=True):
            _panel(axis, of_row[of_row["panel"] == panel], methods, places, place)
            axis.set_title(" · ".join(filter(None, (name, panel))))
            axis.set_xlabel(axis_label)
    tasks = chosen["task"].nunique()
    upwards = textwrap.fill(f"{label}, mean of {tasks} task{'s' if tasks > 1 else ''}", LETTERS_UPWARDS)
    for line in axes:
        line[0].set_ylabel(upwards)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(methods), int(figure.get_figwidth() / ENTRY_INCHES))
    )
    seeds = chosen["seed"].nunique()
    set_title(figure, title, f"bars: 95 % interval over queries; {seeds} seed{'s' if seeds > 1 else ''}")
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, methods: Sequence[str], places: list[str], place: str) -> None:
    for number, method in enumerate(methods):
        of_method = rows[rows["method"] == method]
        points = [_mean_and_error(of_method[of_method[place] == one]) for one in places]
        offset = (number - (len(methods) - 1) / 2) * 0.8 / len(methods)
        axis.errorbar(
            np.arange(len(places)) + offset,
            [mean for mean, _ in points],
            yerr=[1.96 * error for _, error in points],
            fmt=MARKERS[number % len(MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            capsize=2,
            markersize=6,
            label=method,
        )
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if len(places) > 3 else {}
    axis.set_xticks(range(len(places)), [textwrap.fill(one, LETTERS_SLANTED) for one in places], **slanted)
    axis.set_xlim(-0.5, len(places) - 0.5)
    axis.grid(axis="x", visible=False)


def _varied(chosen: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the name and the rows of each combination of the matrix; rows of untrained models are in all of them."""
    columns = [column for column in chosen.columns if column.startswith(VARIED_PREFIX)]
    if not columns:
        return [("", chosen)]
    names = pd.Series("", index=chosen.index, dtype=object)
    for column in columns:
        given = chosen[column].notna() & (chosen[column].astype(str) != "")
        # Pandas reads integers as floats if a cell is empty, as those of untrained models are.
        written = chosen[column].map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))
        named = f"{column.rpartition('.')[2]}=" + written
        names = names.where(~given, names + (names != "").map({True: " · ", False: ""}) + named)
    trained = [name for name in dict.fromkeys(names) if name]
    return [(name, chosen[(names == name) | (names == "")]) for name in trained] or [("", chosen)]


def _mean_and_error(rows: pd.DataFrame) -> tuple[float, float]:
    """Return the mean over tasks and seeds, and its standard error; NaN without rows.

    Queries of different tasks are independent; those of different seeds are the same.
    """
    if rows.empty:
        return np.nan, np.nan
    by_task = rows.groupby("task")[["value", "stderr"]].mean()
    return float(by_task["value"].mean()), float(np.sqrt((by_task["stderr"] ** 2).sum()) / len(by_task))


@PLOTS.register("scores")
class ScoresPlot(Plot):
    """Plot of the main metric by output precision."""

    place = 20
    title = "scores by output precision"
    caption = """\
The primary metric by output precision, one panel for each deployment. Bars are 95 % intervals over queries: two methods
whose bars overlap widely have not been shown to differ.
"""
    tables = ()

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has results for this plot."""
        return True

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        scores, metrics = on_axes(drawn_from.scores, drawn_from.study.chosen_axes), drawn_from.study.main_metrics
        planned, metric = main_scores(scores, metrics)
        main, methods = planned[planned[STATUS] == OK], list(dict.fromkeys(planned["method"]))
        return draw(main, metric, drawn_from.title, drawn_from.label, methods) if len(main) else None
