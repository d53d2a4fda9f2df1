"""Plots of scores: the primary metric by method, published results beside the study's own, and the waterfall of a decomposition."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qatlab.plots.plot import COLOURS, MARKERS, PLOTS, Plot, agreeing_deployments, set_title
from qatlab.statistics import NOT_SEPARABLE
from qatlab.study.record import StudyRecord
from qatlab.tables.labels import main_scores, on_axes, output_labels
from qatlab.tables.missing import OK, STATUS
from qatlab.tables.names import TEXT, TOTAL, metric_label
from qatlab.tables.published import ALL_TASKS, scale_note
from qatlab.tables.wide import VARIED_PREFIX

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from qatlab.plots.plot import DrawnFrom

LEAST_WIDTH, ENTRY_INCHES = 6.0, 1.9  # least width in inches; width of a legend entry
LETTERS_UPWARDS = 48  # letters per line of the y axis's label
LETTERS_SLANTED = 22  # letters per line of an output's name
LETTER_INCHES = 0.09  # width of a letter in labels of the x axis, which are horizontal if they are few


def draw_scores(scores: pd.DataFrame, metric: str, title: str, label: str, methods: Sequence[str] = ()) -> Figure:
    """Draw means over tasks and seeds, with 95 % intervals over queries (normal approximation).

    There is one column of panels per deployment, and one row per combination of the matrix besides method and seed. Deployments whose
    values agree to four digits share a column, whose title names all of them. If there is only one output, as for causal language
    models, the deployments are drawn beside one another in one panel.

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
    else:
        chosen = _with_shared_panels(chosen)
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
            axis.set_title(textwrap.fill(" · ".join(filter(None, (name, panel))), int(width / LETTER_INCHES)))
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
    counted = f"; {seeds} seed{'s' if seeds > 1 else ''}" if seeds else ""  # an untrained model has none
    set_title(figure, title, f"bars: 95 % interval over queries{counted}")
    return figure


def _with_shared_panels(chosen: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without deployments that agree with an earlier one, whose column `panel` then names all of them."""
    columns = [column for column in chosen.columns if column.startswith(VARIED_PREFIX)]
    names = agreeing_deployments(chosen, ["method", "seed", *columns, "task", "output"])
    first_ones = chosen[chosen["deploy"].isin(names)]
    return first_ones.assign(panel=first_ones["deploy"].map(names))


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
    labels = [textwrap.fill(one, LETTERS_SLANTED) for one in places]
    if len(places) > 3:
        axis.set_xticks(range(len(places)), labels, rotation=45, ha="right", rotation_mode="anchor")
    else:
        axis.set_xticks(range(len(places)), labels)
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
The primary metric by output precision, one panel for each deployment; deployments that agree to four digits share one. Bars are 95 %
intervals over queries, which are wider than those of paired differences: methods are compared in the plot of differences.
"""
    tables = ()

    def wanted(self, study: StudyRecord) -> bool:
        """Return True: every study has scores."""
        return True

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        scores, metrics = on_axes(drawn_from.scores, drawn_from.study.chosen_axes), drawn_from.study.main_metrics
        planned, metric = main_scores(scores, metrics)
        main, methods = planned[planned[STATUS] == OK], list(dict.fromkeys(planned["method"]))
        return draw_scores(main, metric, drawn_from.title, drawn_from.label, methods) if len(main) else None


COLUMNS = 3
TITLE_LETTERS = 34
PUBLISHED_LETTER_INCHES = 0.08  # width of a letter in a row's label
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


def draw_published(table: pd.DataFrame, title: str, ours: str) -> Figure:
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
    margin = PUBLISHED_LETTER_INCHES * max(map(len, rows))
    figure, axes = plt.subplots(
        lines, columns, figsize=(margin + PANEL_INCHES * columns, height), sharey=True, squeeze=False
    )
    for axis, (names, panel) in zip(axes.flat, panels, strict=False):
        _published_panel(axis, panel, keys, rows)
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


def _published_panel(axis: Axes, panel: pd.DataFrame, keys: list[str], rows: list[str]) -> None:
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
        """Return whether the study reproduces a published one."""
        return study.stands_for is not None

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        return draw_published(drawn_from.as_text("published"), drawn_from.title, scale_note(drawn_from.study))


BAR_INCHES, LABEL_LETTERS = 0.9, 12
BAR_WIDTH = 0.7
LEVEL, LOSS, GAIN = COLOURS[0], COLOURS[3], COLOURS[2]
PALE = 0.4  # saturation of components that are not separable from 0
ROOM = 0.2  # margin above and below the bars, as a share of their range
SLASH = [(-1, -0.6), (1, 0.6)]  # mark across an axis that does not begin at 0


def draw_waterfall(table: pd.DataFrame, metric: str, title: str) -> Figure:
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
        _waterfall_panel(axis, chain.reset_index(drop=True))
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


def _waterfall_panel(axis: Axes, chain: pd.DataFrame) -> None:
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
component, with its 95 % interval, lowers or raises the metric, down to the shipped deployment on the right. The axis does not begin
at 0: compare the tops of the first and last bar, not their heights.
"""
    tables = ("decomposition",)

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether an entry of `study.decomposition` applies to a run of the study."""
        return any(run.chains for run in study.runs)

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        steps = complete_chains(drawn_from.as_text("decomposition"))
        return draw_waterfall(steps, drawn_from.study.primary_metric, drawn_from.title) if len(steps) else None
