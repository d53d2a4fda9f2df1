"""Plots of training for bits: its gradient, changed bits and score, and its gain by the number of steps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from qatlab.plots.plot import COLOURS, MARKERS, PLOTS, Plot, set_title
from qatlab.quantization.precisions import GRADIENT_COSINE, GRADIENT_RATIO, is_binary, sides
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.bits import BETWEEN_SEEDS, CHANGED, compared_deployment
from qatlab.tables.differences import DIFFERENCE, JUDGED
from qatlab.tables.labels import precision_label
from qatlab.tables.wide import VARIED_PREFIX

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qatlab.plots.plot import DrawnFrom

# The first of these outputs that a study has is drawn, or else an output whose documents alone are bits.
BITS = ("binary", "ubinary")
# Widths of a panel, of a letter, and of a legend's line before its label.
PANEL_INCHES, LETTER_INCHES, HANDLE_INCHES = 3.7, 0.085, 0.75
LEAST_HEIGHT, METHOD_INCHES = 2.9, 0.36  # height of a panel; height per method in a panel
LEAST_RANGE = 10.0  # least ratio of the upper to the lower end of a logarithmic axis
REFERENCE: dict[str, Any] = {"color": "#444444", "linewidth": 1.1, "linestyle": "--", "zorder": 1}
SHADE = "#dddddd"
NOTHING = "–"
NUMBER = re.compile(r"([+-]?[\d.]+)(?: ± ([\d.]+))?")


class Looks(NamedTuple):
    """Appearance of a method: its row among the compared methods, and its colour and marker, as in the plot of scores.

    The baseline has no counterpart, so it has no row, and a line only if it trains for bits itself.
    """

    place: int | None
    colour: str
    marker: str


def draw_gradient(
    runs: Sequence[RunRecord],
    logs: Mapping[str, pd.DataFrame],
    tables: tuple[pd.DataFrame, pd.DataFrame] | None,
    baseline: str,
    metric: str,
    deploy: str,
    title: str,
) -> Figure | None:
    """Draw one row of panels for each combination of the matrix besides method and seed.

    The panels of a row show, from the left: the norm of the bits' gradient at the embeddings over the float32 term's, by optimizer
    step; the share of the corpus's bits that differ from the baseline's; and the difference of the main metric from the baseline.

    Args:
        runs: the study's runs.
        logs: log.csv by the name of the run, without missing runs.
        tables: bits_changed.csv and against_baseline.csv with all cells as text; without them, only the first panel is drawn.
        baseline: the study's baseline method.
        metric: label of the main metric.
        deploy: the deployment whose bits are compared.
        title: the study's title.

    Returns:
        The plot; None if no panel has a value.
    """
    from matplotlib import pyplot as plt

    looks = _looks(runs, baseline)
    rows = {_key(run.varied): _name(run.varied) for run in runs if run.method in looks}
    lines = {key: _ratios([run for run in runs if _key(run.varied) == key], looks, logs) for key in rows}
    bits, differences, output = (_no_rows(), _no_rows(), "") if tables is None else _bits(*tables, deploy)
    if not any(lines.values()) and _known(bits, CHANGED).empty and _known(differences, DIFFERENCE).empty:
        return None
    columns = 1 if tables is None else 3
    height = max(LEAST_HEIGHT, 1.1 + METHOD_INCHES * len(looks))
    names_inches = LETTER_INCHES * max(map(len, looks)) if tables is not None else 1.0
    size = (1.2 + names_inches + PANEL_INCHES * columns, 1.3 + height * len(rows))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, sharex="col")
    for line, (key, name) in zip(axes, rows.items(), strict=True):
        _gradients(line[0], lines[key], looks)
        line[0].set_title(_title(name, "gradient of the bits"))
        if tables is not None:
            _places(line[1], looks, names=True)
            _changes(line[1], bits[bits["row"] == key], looks)
            line[1].set_title(_title(name, f"the corpus's bits ({deploy})"))
            _places(line[2], looks, names=False)
            _gains(line[2], differences[differences["row"] == key], looks)
            line[2].set_title(_title(name, f"{output} embeddings ({deploy})"))
    axes[-1][0].set_xlabel("optimizer step")
    if tables is not None:
        # After all rows are drawn: they share the axis, and a limit that is set stops its automatic scaling.
        axes[-1][1].set_xlim(left=0)
        axes[-1][1].set_xlabel(f"differ from those of {baseline}, same seed (%)")
        axes[-1][2].set_xlabel(f"{metric} less that of {baseline}")
    handles = _legend(looks, lines, tables is None, between=not _known(bits, BETWEEN_SEEDS).empty)
    widest = HANDLE_INCHES + LETTER_INCHES * max(len(handle.get_label()) for handle in handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, int(size[0] / widest)))
    several = len({run.seed for run in runs if run.method in looks}) > 1
    parts = ["gradient: mean over seeds, pale: each seed" if several else "one seed"]
    if tables is not None:
        parts += ["bits: ± standard deviation over seeds"] * several + ["difference: 95 % interval"]
    set_title(figure, title, "; ".join(parts))
    return figure


def _looks(runs: Sequence[RunRecord], baseline: str) -> dict[str, Looks]:
    """Return the appearance of the trained methods, in the study's order."""
    methods = list(dict.fromkeys(run.method for run in runs))
    trained = {run.method for run in runs if run.seed is not None}
    compared = [method for method in methods if method in trained - {baseline}]
    return {
        method: Looks(
            compared.index(method) if method in compared else None,
            COLOURS[number % len(COLOURS)],
            MARKERS[number % len(MARKERS)],
        )
        for number, method in enumerate(methods)
        if method in trained
    }


def _key(varied: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the values of a cell of the matrix as texts that can be compared with cells of a table."""
    return tuple(_text(value) for value in varied.values())


def _text(value: Any) -> str:
    """Normalize a value: '64' for 64, 64.0 and '64'; '–' for an empty one."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return str(value)
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return str(value)


def _name(varied: Mapping[str, Any]) -> str:
    return " · ".join(f"{key.rpartition('.')[2]}={_text(value)}" for key, value in varied.items())


def _title(name: str, panel: str) -> str:
    return f"{name}\n{panel}" if name else panel


def _ratios(
    runs: Sequence[RunRecord], looks: Mapping[str, Looks], logs: Mapping[str, pd.DataFrame]
) -> dict[str, tuple[str, list[pd.Series]]]:
    """Return, by method, the precision whose gradient is drawn, and for each seed the ratios by step at which they were measured."""
    ratios_by_method: dict[str, tuple[str, list[pd.Series]]] = {}
    for run in runs:
        log = logs.get(run.name)
        precision = _precision(log) if log is not None and run.method in looks else None
        if log is None or precision is None:
            continue
        ratio = log.set_index("step")[GRADIENT_RATIO + precision].dropna()
        ratio = ratio[(ratio > 0) & np.isfinite(ratio)]
        if len(ratio):
            ratios_by_method.setdefault(run.method, (precision, []))[1].append(ratio)
    return ratios_by_method


def _precision(log: pd.DataFrame) -> str | None:
    """Return the precision of bits if the run trained on it, or else the first precision that is not float32."""
    names = [column.removeprefix(GRADIENT_RATIO) for column in log.columns if column.startswith(GRADIENT_RATIO)]
    return next(iter([*(n for n in BITS if n in names), *(n for n in names if n != "float32")]), None)


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame(columns=["method", "row", CHANGED, BETWEEN_SEEDS, DIFFERENCE, JUDGED[0]], dtype=object)


def _bits(bits: pd.DataFrame, differences: pd.DataFrame, deploy: str) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Add the column `row`, the key of the row of panels, to both tables; select differences of bits on the model's own axes.

    Returns:
        The tables, and the output of the selected differences.
    """
    differences = differences[differences["deploy"] == deploy] if "deploy" in differences else _no_rows()
    if "rotation" in differences:
        differences = differences[differences["rotation"] == "none"]
    output = "binary"
    if "output precision" in differences:
        stored = list(differences["output precision"])
        one_sided = [label for label in stored if is_binary(label.rpartition(" × ")[2])]
        output = next(iter([*(label for label in BITS if label in stored), *one_sided]), output)
        differences = differences[differences["output precision"] == output]
    return _with_rows(bits), _with_rows(differences), output


def _with_rows(table: pd.DataFrame) -> pd.DataFrame:
    varied = table[[column for column in table.columns if column.startswith(VARIED_PREFIX)]]
    keys = pd.Series([tuple(map(_text, values)) for values in varied.to_numpy()], index=table.index, dtype=object)
    return table.assign(row=keys)


def _number(cell: Any) -> tuple[float, float]:
    """Parse '1.23 ± 0.10' or '1.23', whose deviation is NaN; both are NaN for cells without a number, such as 'failed' and '–'."""
    match = NUMBER.match(str(cell))
    if match is None:
        return np.nan, np.nan
    return float(match[1]), float(match[2]) if match[2] else np.nan


def _known(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the rows that have a number in a column."""
    if column not in table:
        return table.iloc[:0]
    is_number = pd.Series([not np.isnan(_number(cell)[0]) for cell in table[column]], index=table.index, dtype=bool)
    return table[is_number]


def _gradients(axis: Axes, lines: Mapping[str, tuple[str, list[pd.Series]]], looks: Mapping[str, Looks]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axis.set_yscale("log")
    axis.axhline(1.0, **REFERENCE)
    axis.set_ylabel("norm over the float32 term's (log)")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    drawn = [1.0]
    for method, (_, ratios) in lines.items():
        colour, marker = looks[method].colour, looks[method].marker
        for ratio in ratios if len(ratios) > 1 else []:
            axis.plot(ratio.index, ratio, color=colour, linewidth=0.8, alpha=0.4)
        mean = pd.concat(ratios, axis=1).mean(axis=1).sort_index()
        interval = max(1, len(mean) // 8)
        axis.plot(mean.index, mean, color=colour, linewidth=1.8, marker=marker, markevery=interval, markersize=5)
        drawn += [value for ratio in ratios for value in (ratio.min(), ratio.max())]
    low, high = min(drawn) / 1.3, max(drawn) * 1.3
    margin = max(LEAST_RANGE / (high / low), 1.0) ** 0.5
    axis.set_ylim(low / margin, high * margin)
    few = high / low > 1000
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    _mark_if_empty(axis, not lines)


def _places(axis: Axes, looks: Mapping[str, Looks], names: bool) -> None:
    """Set up one row of a panel for each compared method, from top to bottom."""
    compared = [method for method, look in looks.items() if look.place is not None]
    axis.set_yticks(range(len(compared)), compared if names else [""] * len(compared))
    axis.set_ylim(len(compared) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)


def _changes(axis: Axes, bits: pd.DataFrame, looks: Mapping[str, Looks]) -> None:
    known = _known(bits, CHANGED)
    for row in known.to_dict("records"):
        if row["method"] in looks:
            share, deviation = _number(row[CHANGED])
            _point(axis, looks[row["method"]], share, None if np.isnan(deviation) else ([deviation], [deviation]))
    between = [_number(cell)[0] for cell in _known(bits, BETWEEN_SEEDS)[BETWEEN_SEEDS]]
    if between:
        axis.axvspan(0, between[0], color=SHADE, alpha=0.6, linewidth=0, zorder=0)
        axis.axvline(between[0], **REFERENCE)
    _mark_if_empty(axis, known.empty)


def _gains(axis: Axes, differences: pd.DataFrame, looks: Mapping[str, Looks]) -> None:
    from matplotlib.ticker import MaxNLocator

    known = _known(differences, DIFFERENCE)
    axis.axvline(0.0, **REFERENCE)
    for row in known.to_dict("records"):
        if row["method"] in looks:
            difference, _ = _number(row[DIFFERENCE])
            low, _, high = str(row[JUDGED[0]]).partition(" to ")
            reach = ([difference - float(low)], [float(high) - difference]) if high else None
            _point(axis, looks[row["method"]], difference, reach)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=5))
    _mark_if_empty(axis, known.empty)


def _point(axis: Axes, looks: Looks, value: float, reach: tuple[list[float], list[float]] | None) -> None:
    if looks.place is None:
        return
    at = [float(looks.place)]
    axis.errorbar(
        [value], at, xerr=reach, fmt=looks.marker, color=looks.colour, capsize=3, markersize=6, elinewidth=1.6
    )


def _mark_if_empty(axis: Axes, empty: bool) -> None:
    if empty:
        words = axis.text(0.5, 0.5, "no run has results for this", ha="center", va="center", transform=axis.transAxes)
        # A white box, so that the reference line does not cross the words.
        words.set_bbox({"facecolor": "white", "edgecolor": "none"})


def _legend(
    looks: Mapping[str, Looks],
    lines: Mapping[Any, Mapping[str, tuple[str, list[pd.Series]]]],
    lines_alone: bool,
    between: bool,
) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    precisions = {method: precision for of_row in lines.values() for method, (precision, _) in of_row.items()}
    handles: list[Any] = []
    for method, (place, colour, marker) in looks.items():
        if method not in precisions and (lines_alone or place is None):
            continue
        precision = precisions.get(method, "binary")
        suffix = "" if precision == "binary" else f" (gradient of {precision_label(*sides(precision))})"
        handles.append(Line2D([], [], color=colour, marker=marker, linewidth=1.8, markersize=6, label=method + suffix))
    if between:
        handles.append(Patch(color=SHADE, label="two seeds of the baseline"))
    return handles


@PLOTS.register("gradient")
class GradientPlot(Plot):
    """Plot of what training for bits does."""

    place = 40
    title = "what training for bits does"
    caption = """\
The effect of training for bits, one row of panels for each combination of the matrix: on the left, by optimizer step, the norm of the
bits' gradient divided by that of the float32 term, both at the embeddings and before weights, so that far below 1 the bits hardly
affect the training. In the middle is the share of the corpus's bits that differ from the baseline's of the same seed, in grey that in
which two seeds of the baseline differ, and on the right the difference of the main metric at binary embeddings, with its 95 % interval.
"""
    tables = ("bits_changed", "against_baseline")

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a trained method has embedding quantization in its loss."""
        return any(run.trains_for for run in study.runs if run.trained.startswith("train/"))

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        study, runs = drawn_from.study, drawn_from.runs
        has_tables = {"bits_changed", "against_baseline"} <= set(study.views)
        tables = (drawn_from.as_text("bits_changed"), drawn_from.as_text("against_baseline")) if has_tables else None
        deploy = compared_deployment(runs)
        return draw_gradient(runs, drawn_from.logs, tables, study.baseline, drawn_from.label, deploy, drawn_from.title)


STEPS = f"{VARIED_PREFIX}trainer.max_steps"
SHIFT = 0.04  # distance between the points of two methods, as a share of the number of steps


def draw_steps(
    runs: Sequence[RunRecord],
    logs: Mapping[str, pd.DataFrame],
    differences: pd.DataFrame,
    baseline: str,
    metric: str,
    deploy: str,
    title: str,
) -> Figure | None:
    """Draw one row of panels for each combination of the matrix besides method, seed and number of steps.

    The left panel shows the difference of the main metric at binary embeddings from the baseline with as many steps; the right one
    the cosine of the bits' gradient with the float term's, the mean over a training and over seeds.

    Args:
        runs: the study's runs.
        logs: log.csv by the name of the run, without missing runs.
        differences: against_baseline.csv with all cells as text.
        baseline: the study's baseline method.
        metric: label of the main metric.
        deploy: the deployment whose differences are drawn.
        title: the study's title.

    Returns:
        The plot; None if no difference is known.
    """
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    looks = {method: look for method, look in _looks(runs, baseline).items() if look.place is not None}
    _, differences, output = _bits(_no_rows(), differences, deploy)
    known = _known(differences, DIFFERENCE)
    known = known[known["method"].isin(looks)]
    if known.empty:
        return None
    others = [name for name in map(str, known) if name.startswith(VARIED_PREFIX) and name != STEPS]
    rows = list(dict.fromkeys(known[others].itertuples(index=False, name=None)))
    size = (2.4 + 2 * PANEL_INCHES, 1.3 + LEAST_HEIGHT * len(rows))
    figure, axes = plt.subplots(len(rows), 2, figsize=size, squeeze=False, sharex=True)
    for panels, row in zip(axes, rows, strict=True):
        name = _name(dict(zip(others, row, strict=True)))
        of_row = known[[values == row for values in known[others].itertuples(index=False, name=None)]]
        _differences_by_steps(panels[0], of_row, looks)
        panels[0].set_title(_title(name, f"{output} embeddings ({deploy})"))
        panels[0].set_ylabel(f"{metric} less that of {baseline}")
        texts = tuple(map(_text, row))
        of_runs = [run for run in runs if tuple(_text(run.varied[column]) for column in others) == texts]
        _cosines_by_steps(panels[1], of_runs, logs, looks)
        panels[1].set_title(_title(name, "gradient of the bits"))
        panels[1].set_ylabel("cosine with the float32 term's")
    steps = sorted({float(value) for value in known[STEPS]})
    for axis in axes[-1]:
        axis.set_xscale("log", base=2)
        axis.set_xticks(steps, [f"{value:,.0f}" for value in steps])
        axis.set_xlabel("optimizer steps of the training")
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linewidth=1.8, label=method)
        for method, look in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    set_title(figure, title, "difference: 95 % interval; cosine: mean over a training, ± standard deviation over seeds")
    return figure


def _differences_by_steps(axis: Axes, differences: pd.DataFrame, looks: Mapping[str, Looks]) -> None:
    axis.axhline(0.0, **REFERENCE)
    for method, look in looks.items():
        cells = differences[differences["method"] == method].to_dict("records")
        points = []
        for cell in cells:
            value = _number(cell[DIFFERENCE])[0]
            low, _, high = str(cell[JUDGED[0]]).partition(" to ")
            points.append((float(cell[STEPS]), value, *((float(low), float(high)) if high else (value, value))))
        _curve(axis, look, sorted(points))


def _cosines_by_steps(
    axis: Axes, runs: Sequence[RunRecord], logs: Mapping[str, pd.DataFrame], looks: Mapping[str, Looks]
) -> None:
    drawn = False
    for method, look in looks.items():
        by_steps: dict[float, list[float]] = {}
        for run in runs:
            log = logs.get(run.name) if run.method == method else None
            precision = None if log is None else _precision(log)
            cosine = np.nan if log is None or precision is None else log[GRADIENT_COSINE + precision].mean()
            if not np.isnan(cosine):
                by_steps.setdefault(float(str(run.varied[STEPS])), []).append(cosine)
        points = []
        for steps, cosines in sorted(by_steps.items()):
            mean, deviation = np.mean(cosines), np.std(cosines, ddof=1) if len(cosines) > 1 else 0.0
            points.append((steps, float(mean), float(mean - deviation), float(mean + deviation)))
        _curve(axis, look, points)
        drawn = drawn or bool(points)
    _mark_if_empty(axis, not drawn)


def _curve(axis: Axes, look: Looks, points: list[tuple[float, float, float, float]]) -> None:
    """Draw points (steps, value, lower end, upper end), which are connected; methods are shifted against one another."""
    if not points:
        return
    x, y, low, high = np.array(points).T
    x = x * (1 + SHIFT * (look.place or 0))
    axis.errorbar(
        x,
        y,
        yerr=[y - low, high - y],
        fmt=f"{look.marker}-",
        color=look.colour,
        capsize=3,
        markersize=5,
        elinewidth=1.2,
    )


@PLOTS.register("steps")
class StepsPlot(Plot):
    """Plot of what training for bits gains, by the number of steps."""

    place = 45
    title = "what training for bits gains, by the number of steps"
    caption = """\
What training for bits gains by the number of optimizer steps, one row of panels for each other combination of the matrix: on the left the
difference of the main metric at binary embeddings from the baseline with as many steps, with its 95 % interval, on the right the cosine
between the bits' gradient and the float term's at the embeddings, the mean over each training. The numbers are those of
against_baseline.csv and of each run's log.csv.
"""
    tables = ("against_baseline",)

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a study trains for quantized embeddings with several numbers of steps."""
        counts = {run.varied[STEPS] for run in study.runs if run.trains and STEPS in run.varied}
        return len(counts) > 1 and any(run.trains_for for run in study.runs) and "against_baseline" in study.views

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        study, runs = drawn_from.study, drawn_from.runs
        differences = drawn_from.as_text("against_baseline")
        label, deploy = drawn_from.label, compared_deployment(runs)
        return draw_steps(runs, drawn_from.logs, differences, study.baseline, label, deploy, drawn_from.title)
