"""Distributions of drift: cosine distance of each text's embedding to the reference deployment's."""

import math

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from qatlab.plots.style import COLOURS, hide_unused, set_title

PANELS_PER_ROW = 4
SMALLEST_SHOWN = 1e-6  # about the rounding of a float32 cosine; less is no drift


def draw(cosines: dict[tuple[str, str], dict[str, np.ndarray]], title: str) -> Figure:
    """`cosines`: by deployment and reference, by method, (n,) cosine similarities of all tasks and seeds; none where they are missing."""
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
    axes[0][0].invert_yaxis()
    drawn = f"whiskers: 5 % to 95 % of texts; below {SMALLEST_SHOWN:g} drawn at {SMALLEST_SHOWN:g}"
    set_title(figure, title, f"box: quartiles and median; {drawn}")
    return figure
