"""What is drawn can be read: titles fit their figure, and every column of panels has its axis labelled."""

import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from conftest import AS_IT_IS
from qatlab.plots import diagnostics, plot, scores

TITLE = "Weight quantization: training for a scheme against quantizing after training, in a title as long as they come"


pytestmark = pytest.mark.usefixtures("plot_style")


def of_scores(title=TITLE, methods=()):
    row = {
        "method": "m",
        "seed": 0,
        "deploy": "torch_fp32",
        "task": "a",
        "metric": "ndcg@10",
        "rotation": "none",
        **AS_IT_IS,
    }
    row |= {"query_precision": "float32", "doc_precision": "float32", "value": 0.5, "stderr": 0.01}
    return scores.draw_scores(pd.DataFrame([row]), "ndcg@10", title, "nDCG@10", methods)


def of_drift(panels=1):
    cosines = {(f"deploy{n}", "torch_fp32"): {"baseline": np.linspace(0.9, 0.99, 20)} for n in range(panels)}
    return diagnostics.draw(cosines, TITLE)


def of_training(panels=1):
    return diagnostics.draw_loss(
        {f"run{n}": pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5]}) for n in range(panels)}, TITLE
    )


def of_waterfall():
    cells = {"method": "m", "component": ["float", "export", "total"], "value": ["0.8", "0.7", "0.7"]}
    cells |= {"difference": ["–", "-0.1", "-0.1"], "95 % interval": "–", "verdict": "worse"}
    return scores.draw_waterfall(pd.DataFrame(cells), "ndcg@10", TITLE)


@pytest.mark.parametrize("drawn", [of_scores, of_drift, of_training, of_waterfall])
def test_a_long_title_is_as_wide_as_a_figure_of_one_panel(drawn):
    figure = drawn()
    figure.canvas.draw()
    extent = figure._suptitle.get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.x1


@pytest.mark.parametrize("drawn", [of_drift, of_training])
def test_a_column_whose_last_panel_is_not_used_has_its_axis_labelled(drawn):
    figure = drawn(6)
    figure.canvas.draw()
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert len(panels) == 6
    lowest = panels[2:]  # the third and fourth of the first row, and the second row
    assert all(any(tick.label1.get_visible() for tick in axis.xaxis.get_major_ticks()) for axis in lowest)
    assert all(axis.get_xlabel() for axis in lowest)


def test_dollars_in_names_are_literal(tmp_path):
    """And powers of ten on a logarithmic axis still are."""
    run = "sweep-prompt=$\\frac{-seed=0$"
    losses = diagnostics.draw_loss({run: pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5]})}, "From $5 to $\\6$")
    plot.save(losses, tmp_path, "losses")
    svg = (tmp_path / "losses.svg").read_text()
    assert "From $5 to $\\6$" in svg
    assert "\\frac{" in svg
    plot.save(of_drift(), tmp_path, "drift")
    assert "mathdefault" not in re.sub("<!--.*?-->", "", (tmp_path / "drift.svg").read_text())


def test_names_are_no_markup(tmp_path):
    title = "--><script>alert(1)</script>"
    plot.save(diagnostics.draw_loss({title: pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5]})}, title), tmp_path, "x")
    svg = (tmp_path / "x.svg").read_text()
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


def test_a_method_that_failed_keeps_its_place_and_colour():
    figure = of_scores("title\nfailed: first", ["first", "m"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["first", "m"]
    assert figure.axes[0].containers[1].lines[0].get_color() == plot.COLOURS[1]
    assert figure.get_suptitle().splitlines()[:2] == ["title", "failed: first"]


@pytest.mark.parametrize("decades", [0.1, 0.3, 0.55, 0.7, 1, 1.5, 1.9, 3])
def test_labels_of_cosine_distances_stay_apart(decades):
    distances = 0.008 * 10.0 ** np.linspace(0, -decades, 50)
    methods = {"baseline": 1 - distances, "ste": 1 - distances}
    figure = diagnostics.draw({("onnx_int8", "torch_fp32"): methods, ("onnx_fp32", "torch_fp32"): methods}, TITLE)
    figure.canvas.draw()
    for axes in figure.axes:
        labels = [tick for minor in (False, True) for tick in axes.get_xticklabels(minor=minor) if tick.get_text()]
        low, high = axes.get_xlim()
        extents = sorted(
            (label.get_window_extent() for label in labels if low <= label.get_position()[0] <= high),
            key=lambda extent: extent.x0,
        )
        assert len(extents) >= 2
        gaps = [right.x0 - left.x1 for left, right in pairwise(extents)]
        assert min(gaps) > 2  # pixels
