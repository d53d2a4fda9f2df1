"""Plots of what is measured besides scores: the cosine distance of embeddings to the reference deployment's, and the training loss."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qatlab.artifact import load_array
from qatlab.plots.plot import COLOURS, PLOTS, Plot, hide_unused, set_title
from qatlab.quantization.precisions import FLOAT_TEACHER, LOSS, sides
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.labels import precision_label
from qatlab.tables.missing import OK, Missing
from qatlab.tables.names import is_simulation
from qatlab.tables.table import compares_deployments, trains

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qatlab.plots.plot import DrawnFrom

PANELS_PER_ROW = 4
SMALLEST_SHOWN = 1e-6  # about the rounding error of a float32 cosine; smaller distances are noise


def draw(cosines: dict[tuple[str, str], dict[str, np.ndarray]], title: str) -> Figure:
    """Draw one panel of box plots per deployment and reference, one box per method.

    Args:
        cosines: (n,) cosine similarities of all tasks and seeds, by deployment and reference, then by method; empty if missing.
        title: the study's title.
    """
    from matplotlib import pyplot as plt

    methods = list(dict.fromkeys(method for by_method in cosines.values() for method in by_method))
    columns = min(len(cosines), PANELS_PER_ROW)
    rows = math.ceil(len(cosines) / columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(1.5 + 4 * columns, 0.7 + rows * (0.9 + 0.45 * len(methods))),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axis, ((deploy, reference), by_method) in zip(axes.flat, cosines.items(), strict=False):
        distances = [np.maximum(1 - by_method.get(method, np.empty(0)), SMALLEST_SHOWN) for method in methods]
        boxes = axis.boxplot(
            distances, orientation="horizontal", whis=(5, 95), showfliers=False, patch_artist=True, widths=0.6
        )
        for index, box in enumerate(boxes["boxes"]):
            box.set_facecolor(COLOURS[index % len(COLOURS)])
            box.set_alpha(0.7)
        for median in boxes["medians"]:
            median.set_color("black")
        axis.set_xscale("log")
        axis.set_title(deploy)
        axis.set_xlabel(f"cosine distance to {reference} (log scale)")
        axis.set_yticks(range(1, len(methods) + 1), methods)
        axis.grid(axis="y", visible=False)
    hide_unused(axes, len(cosines))
    _space_ticks(axes[0][0])
    axes[0][0].invert_yaxis()
    drawn = f"whiskers: 5 % to 95 % of texts; below {SMALLEST_SHOWN:g} drawn at {SMALLEST_SHOWN:g}"
    set_title(figure, title, f"box: quartiles and median; {drawn}")
    return figure


def _space_ticks(axes: Axes) -> None:
    """Label so few ticks of a logarithmic x-axis of less than two decades that their labels, such as 8 × 10⁻³, do not overlap."""
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullLocator

    low, high = axes.get_xlim()
    decades = math.log10(high / low)
    if decades < 2:
        all_ticks = (math.inf, math.inf)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if decades > 0.8 else MaxNLocator(4))
        axes.xaxis.set_major_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=all_ticks))
        axes.xaxis.set_minor_locator(NullLocator())


def _cosines(
    runs: Sequence[RunRecord], results: Path, missing: Missing
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Return the cosines of all tasks, sets of texts and seeds that exist, by deployment and reference, then by method.

    Drift from the forward pass of training is left out: the table `parity` shows it.
    """
    parts: dict[tuple[str, str], dict[str, list[np.ndarray]]] = {}
    for run in runs:
        for entry in run.evaluations:
            for reference, path in entry.drift.items():
                if is_simulation(reference):
                    continue
                by_method = parts.setdefault((entry.deploy, reference), {})
                values = by_method.setdefault(run.method, [np.empty(0)])
                if missing.status(path) == OK:
                    values.append(load_array(results / path / "cosines.npy"))
    return {
        pair: {method: np.concatenate(values) for method, values in by_method.items()}
        for pair, by_method in parts.items()
    }


@PLOTS.register("drift")
class DriftPlot(Plot):
    """Plot of cosine distances between deployments."""

    place = 50
    title = "drift distributions"
    caption = """\
Cosine distance of each text's embedding to that of the reference deployment. Boxes span the middle half of the texts,
whiskers 90 % of them.
"""
    tables = ()

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study compares deployments with one another."""
        return compares_deployments(study)

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        cosines = _cosines(drawn_from.runs, drawn_from.results, drawn_from.missing)
        any_left = any(len(values) for by_method in cosines.values() for values in by_method.values())
        return draw(cosines, drawn_from.title) if any_left else None


TITLE_LETTERS = 40  # letters per line of a run's name, which is wrapped at hyphens


def draw_loss(logs: dict[str, pd.DataFrame], title: str) -> Figure:
    """Draw the unweighted components of the training loss, from log.csv of each run by the run's name."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    columns = min(len(logs), PANELS_PER_ROW)
    rows = math.ceil(len(logs) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1 + 3.1 * columns, 0.9 + 2.9 * rows), sharex=True, sharey=True, squeeze=False
    )
    names = list(dict.fromkeys(["float32", *_components(logs)]))
    for axis, (run, log) in zip(axes.flat, logs.items(), strict=False):
        plain = not any(column.startswith(LOSS) for column in log.columns)
        for index, precision in enumerate(names):
            column = "loss" if plain and precision == "float32" else LOSS + precision
            if column in log.columns:
                # From thick to thin: int8's curve often coincides with float32's, and both must be visible.
                width, line = (3.5, "-") if precision == "float32" else (1.6, "--")
                axis.plot(
                    log["step"],
                    log[column],
                    line,
                    color=COLOURS[index % len(COLOURS)],
                    linewidth=width,
                    marker="o" if len(log) == 1 else "",  # a line through one point would be invisible
                    label=_component_label(precision),
                )
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_title(textwrap.fill(run, TITLE_LETTERS, break_long_words=False), fontsize=9)
    for axis in hide_unused(axes, len(logs)):
        axis.set_xlabel("optimizer step")
    for axis in axes[:, 0]:
        axis.set_ylabel("training loss (nats)")
    labelled = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=5)
    set_title(figure, title, "training loss at each precision, unweighted")
    return figure


def _components(logs: dict[str, pd.DataFrame]) -> list[str]:
    """Return the precisions that any run was trained on, and other terms of the loss."""
    columns = dict.fromkeys(column for log in logs.values() for column in log.columns if column.startswith(LOSS))
    return [column.removeprefix(LOSS) for column in columns]


def _component_label(name: str) -> str:
    return "float teacher, weighted" if name == FLOAT_TEACHER else precision_label(*sides(name))


@PLOTS.register("training_loss")
class TrainingLossPlot(Plot):
    """Plot of training losses by component."""

    place = 30
    title = "training loss by component"
    caption = """\
Training loss at each output precision that a method trains on, before its weight is applied, and the weighted divergence from a float
teacher. Losses of different precisions are not comparable with one another.
"""
    tables = ()

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study trains a model."""
        return trains(study)

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        return draw_loss(drawn_from.logs, drawn_from.title) if drawn_from.logs else None
