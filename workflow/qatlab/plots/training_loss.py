"""Training loss by component (output precision), one panel per run."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import pandas as pd

from qatlab.plots.plot import PLOTS, Plot
from qatlab.plots.style import COLOURS, hide_unused, set_title
from qatlab.quantization.precisions import LOSS, sides
from qatlab.study.record import StudyRecord
from qatlab.tables.labels import precision_label
from qatlab.tables.table import trains

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from qatlab.plots.drawn_from import DrawnFrom

PANELS_PER_ROW = 4
TITLE_LETTERS = 40  # letters per line of a run's name, which is wrapped at hyphens


def draw(logs: dict[str, pd.DataFrame], title: str) -> Figure:
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
                    label=precision_label(*sides(precision)),
                )
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
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
    """Return the precisions that any run was trained on."""
    columns = dict.fromkeys(column for log in logs.values() for column in log.columns if column.startswith(LOSS))
    return [column.removeprefix(LOSS) for column in columns]


@PLOTS.register("training_loss")
class TrainingLossPlot(Plot):
    """Plot of training losses by component."""

    place = 30
    title = "training loss by component"
    caption = """\
Training loss at each output precision that a method trains on, before its weight is applied.
"""
    tables = ()

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has results for this plot."""
        return trains(study)

    def draw(self, drawn_from: DrawnFrom) -> Figure | None:
        """Return the figure; None if no run has results for it."""
        return draw(drawn_from.logs, drawn_from.title) if drawn_from.logs else None
