"""One look for all plots: colour-blind safe, legible in print, the same bytes for the same figures."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe & Ito 2008, "Color Universal Design", https://jfly.uni-koeln.de/color/
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442"]
MARKERS = ["o", "s", "D", "^", "v", "P", "X", "*"]


def use_style() -> None:
    """Fonts, grid and a fixed seed for SVG element names."""
    mpl.use("Agg")
    mpl.rcParams.update(
        {
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#dddddd",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "svg.hashsalt": "qatlab",
            "svg.fonttype": "none",
            "figure.constrained_layout.use": True,
        }
    )


def save(figure: Figure, folder: Path, name: str) -> None:
    """`name`.svg and `name`.png without dates or version strings."""
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
