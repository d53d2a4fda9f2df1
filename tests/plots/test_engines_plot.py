"""Plot of vector search engines: its points are those of the tables, one row per engine and mode."""

import numpy as np
import pandas as pd
import pytest

from qatlab.plots.engines import VARIANTS, draw_engines
from qatlab.statistics import NOT_SEPARABLE, WORSE

MODES = [("faiss", "float32_exact"), ("faiss", "bits_engine_exact"), ("qdrant", "float32_exact")]
DIFFERENCES = [0.001, -0.05, 0.0]

pytestmark = pytest.mark.usefixtures("plot_style")


def table(methods=("untrained", "ste"), tasks=("stdlib",)):
    rows = [
        {"method": method, "deploy": "torch_fp32", "task": task, "engine": engine, "mode": mode, "value": "0.7"}
        | {
            "difference": f"{difference - shift:+.4f}",
            "95 % interval": f"{difference - shift - 0.01:+.4f} to {difference - shift + 0.02:+.4f}",
        }
        | {"verdict": WORSE if difference < 0 else NOT_SEPARABLE}
        for shift, method in enumerate(methods)
        for task in tasks
        for (engine, mode), difference in zip(MODES, DIFFERENCES, strict=True)
    ]
    return pd.DataFrame(rows, dtype=str)


def search():
    """The searches of two runs, whose medians are 100 and 190 for the first mode, ten times as fast for the next, and of a scorer."""
    rows = [
        {"engine": engine, "mode": mode, "threads": threads, "queries_per_second": speed * 10**at + change}
        for at, (engine, mode) in enumerate(MODES)
        for threads, speed in ((1, 100), (2, 190))
        for change in (-1, 1)
    ]
    return pd.DataFrame([*rows, {"engine": None, "mode": None, "threads": 2, "queries_per_second": 1.0}])


def drawn(*arguments, **options):
    return draw_engines(table(*arguments, **options), search(), "nDCG@10", "Engines", "→")


def points(axis):
    """Return the points of a panel, (n, 2), without the line at 0."""
    lines = [line for line in axis.lines if line.get_marker() not in ("None", "")]
    return np.concatenate([np.column_stack([line.get_xdata(), line.get_ydata()]) for line in lines])


def test_each_mode_has_a_row_below_the_heading_of_its_engine():
    figure = drawn()
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels == ["faiss", "float32_exact", "bits_engine_exact", "qdrant", "float32_exact"]


def test_each_variant_has_a_panel_with_differences_and_intervals():
    figure = drawn()
    assert [axis.get_title() for axis in figure.axes] == ["untrained", "ste", "speed"]
    for axis, shift in zip(figure.axes, (0, 1), strict=False):
        assert np.allclose(points(axis), np.column_stack([np.array(DIFFERENCES) - shift, [1, 2, 4]]))
        bars = [segment[:, 0] for collection in axis.collections for segment in collection.get_segments()]
        assert np.allclose(bars, [[value - shift - 0.01, value - shift + 0.02] for value in DIFFERENCES])


def test_the_last_panel_shows_median_queries_per_second_by_the_number_of_threads():
    speeds = drawn().axes[-1]
    for line, speed in zip(speeds.lines, (100, 190), strict=True):
        assert np.allclose(line.get_xdata(), [np.nan, speed, 10 * speed, np.nan, 100 * speed], equal_nan=True)
    assert [line.get_label() for line in speeds.lines] == ["1 thread", "2 threads"]


def test_variants_are_named_by_what_differs_and_further_ones_are_counted_in_the_title():
    figure = drawn(tasks=("stdlib", "networkx"))
    assert [axis.get_title() for axis in figure.axes[:-1]] == [
        "untrained · stdlib",
        "untrained · networkx",
        "ste · stdlib",
    ]
    assert f"the first {VARIANTS} of 4 variants" in figure.get_suptitle().replace("\n", " ")
    assert [axis.get_title() for axis in drawn(("ste",)).axes] == ["ste", "speed"]


def test_a_table_without_rows_has_no_plot():
    assert draw_engines(table().iloc[:0], search(), "nDCG@10", "Engines", "→") is None
