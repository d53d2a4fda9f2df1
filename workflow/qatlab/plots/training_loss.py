"""Training loss by component (output precision), one panel a run."""

import math

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from qatlab.plots.style import COLOURS

PANELS_PER_ROW = 4
COMPONENT = "loss_"


def draw(logs: dict[str, pd.DataFrame], title: str) -> Figure:
    """`logs`: a run's log.csv by the run's name. Components are drawn before their weights are applied."""
    columns = min(len(logs), PANELS_PER_ROW)
    rows = math.ceil(len(logs) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1 + 3.1 * columns, 0.9 + 2.9 * rows), sharex=True, sharey=True, squeeze=False
    )
    components = list(dict.fromkeys(c for log in logs.values() for c in log.columns if c.startswith(COMPONENT)))
    colours = {name: COLOURS[index + 1] for index, name in enumerate(components)}
    styles = ["--", ":", "-.", (0, (1, 1))]
    for axis, (run, log) in zip(axes.flat, logs.items(), strict=False):
        own = [component for component in components if component in log.columns]
        if not own:
            axis.plot(log["step"], log["loss"], color=COLOURS[0], label="float32 (the whole loss)")
        for component in own:
            style = styles[components.index(component) % len(styles)]
            axis.plot(
                log["step"],
                log[component],
                color=colours[component],
                linestyle=style,
                label=component.removeprefix(COMPONENT),
            )
        axis.set_title(run, fontsize=9)
    for axis in axes.flat[len(logs) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("optimizer step")
    for axis in axes[:, 0]:
        axis.set_ylabel("training loss (nats)")
    labelled = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=5)
    figure.suptitle(f"{title}\ntraining loss at each precision, unweighted", fontsize=11)
    return figure
