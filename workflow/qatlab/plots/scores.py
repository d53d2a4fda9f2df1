"""The primary metric by output precision and method, one panel a deployment."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from qatlab.plots.style import COLOURS, MARKERS, set_title
from qatlab.tables.outputs import output_labels

LETTERS_UPWARDS = 48  # of the y axis's label, in a line


def draw(scores: pd.DataFrame, metric: str, title: str, label: str) -> Figure:
    """Points are means over tasks and seeds; bars are 95 % intervals over queries (normal approximation).

    Args:
        scores: scores.csv.
        metric: which rows of it.
        title: the study's.
        label: what the metric is called.
    """
    chosen = scores[scores["metric"] == metric]
    chosen = chosen.assign(output=output_labels(chosen))
    deployments, methods, precisions = (list(dict.fromkeys(chosen[c])) for c in ("deploy", "method", "output"))
    width = 3.2 * max(1.0, len(precisions) / 4)
    figure, axes = plt.subplots(
        1,
        len(deployments),
        figsize=(1.2 + width * len(deployments), 4.4 if len(precisions) <= 4 else 5.4),
        sharey=True,
        squeeze=False,
    )
    for axis, deploy in zip(axes[0], deployments, strict=True):
        for number, method in enumerate(methods):
            rows = chosen[(chosen["deploy"] == deploy) & (chosen["method"] == method)]
            points = [_mean_and_error(rows[rows["output"] == precision]) for precision in precisions]
            offset = (number - (len(methods) - 1) / 2) * 0.8 / len(methods)
            axis.errorbar(
                np.arange(len(precisions)) + offset,
                [mean for mean, _ in points],
                yerr=[1.96 * error for _, error in points],
                fmt=MARKERS[number % len(MARKERS)],
                color=COLOURS[number % len(COLOURS)],
                capsize=2,
                markersize=6,
                label=method,
            )
        axis.set_title(deploy)
        slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if len(precisions) > 3 else {}
        axis.set_xticks(range(len(precisions)), precisions, **slanted)
        axis.set_xlabel("output precision")
        axis.grid(axis="x", visible=False)
    tasks = chosen["task"].nunique()
    axes[0][0].set_ylabel(textwrap.fill(f"{label}, mean of {tasks} task{'s' if tasks > 1 else ''}", LETTERS_UPWARDS))
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(methods), 5))
    seeds = chosen["seed"].nunique()
    set_title(figure, title, f"bars: 95 % interval over queries; {seeds} seed{'s' if seeds > 1 else ''}")
    return figure


def _mean_and_error(rows: pd.DataFrame) -> tuple[float, float]:
    """Mean of tasks and seeds; queries of different tasks are independent, those of different seeds are the same."""
    by_task = rows.groupby("task")[["value", "stderr"]].mean()
    return float(by_task["value"].mean()), float(np.sqrt((by_task["stderr"] ** 2).sum()) / len(by_task))
