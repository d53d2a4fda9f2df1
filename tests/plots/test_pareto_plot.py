"""What the plot says can be read: numbers cover nothing, and each has its name."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.outputs import outputs
from qatlab.plots import pareto

GRID = {
    "precisions": ["float32", "int8", "binary", "float32_x_binary"],
    "scoring": ["dequantized", "rabitq"],
    "dimensions": [None, 128],
    "rescoring": ["none", *([{"documents": "float32", "oversampling": times}] for times in (2, 4, 10))],
}


pytestmark = pytest.mark.usefixtures("plot_style")


def drawn(config, deployments, title="A grid", same_as_first=()):
    config = EvaluateConfig.model_validate({"metrics": ["ndcg@10"], **config})
    rng = np.random.default_rng(0)
    rows = []
    for method in ("baseline", "ste"):
        for deploy in deployments:
            for output in outputs(config):
                dim = output.dimensions or 384
                bits = np.log2(8 * output.stored_bytes(dim) / dim)
                candidates = sum(step.candidates for step in output.rescoring)
                row = {"run": method, "method": method, "seed": 0, "deploy": deploy, "task": "a", "metric": "ndcg@10"}
                row |= output.described(dim) | {"stored_bytes": output.stored_bytes(dim)}
                row |= {"value": 0.7 + 0.01 * bits + 0.0005 * candidates + rng.normal(0, 0.003)}
                rows.append(row | {"queries_per_second": 9000 / (1 + bits + candidates / 50)})
    table = pd.DataFrame(rows)
    again = table[table["deploy"] == deployments[0]]
    table = pd.concat([table, *(again.assign(deploy=name) for name in same_as_first)])
    return pareto.draw(table, table, "ndcg@10", title)


def panels(figure):
    """Each panel's axes, and those of the names below it."""
    return list(zip(figure.axes[::2], figure.axes[1::2], strict=True))


def test_numbers_overlap_neither_one_another_nor_their_panels_edges():
    figure = drawn(GRID, ["torch_fp32", "onnx_int8"])
    figure.canvas.draw()
    for axis, _ in panels(figure):
        boxes = [text.get_window_extent() for text in axis.texts]
        assert len(boxes) >= 8
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        outer = axis.get_window_extent()
        assert all(outer.x0 <= box.x0 and box.x1 <= outer.x1 and box.y1 <= outer.y1 for box in boxes)


def test_every_number_has_its_name_within_the_figure():
    figure = drawn(GRID, ["torch_fp32", "onnx_int8"])
    figure.canvas.draw()
    for axis, below in panels(figure):
        (names,) = below.texts
        numbers = [text.get_text() for text in axis.texts]
        assert [line.split()[0] for line in names.get_text().split("\n") if line[0] != " "] == numbers
        extent = names.get_window_extent()
        assert extent.x1 <= figure.bbox.x1
        assert extent.y0 >= max(figure.legends[0].get_window_extent().y1 - 1, 0)


@pytest.mark.parametrize("deployments", [1, 3, 6])
def test_title_and_legend_fit_and_the_first_four_deployments_are_shown(deployments):
    figure = drawn({}, [f"deployment{n}" for n in range(deployments)])
    figure.canvas.draw()
    assert len(panels(figure)) == min(deployments, 4)
    for artist in (figure._suptitle, figure.legends[0]):
        extent = artist.get_window_extent()
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.x1
    assert ("the first 4 of 6 deployments" in figure._suptitle.get_text().replace("\n", " ")) == (deployments == 6)


def test_deployments_with_the_same_values_share_a_panel():
    figure = drawn({}, ["torch_fp32", "onnx_int8"], same_as_first=["onnx_fp32", "openvino_fp32"])
    assert [axis.get_title() for axis, _ in panels(figure)] == ["torch_fp32, onnx_fp32, openvino_fp32", "onnx_int8"]


def test_names_contain_the_cell_of_the_matrix():
    table = pd.DataFrame([{"method": "m", "matrix.seed": 1, "matrix.lr": np.nan, "bytes": 48, "value": 0.5}])
    table = table.assign(rotation="itq", output="binary", on_frontier=True)
    names = pareto._numbered(table, ["method", "matrix.seed", "matrix.lr"])[1]
    assert names == ["1  itq: binary (m, seed=1)"]


def test_there_is_a_line_for_each_source_of_fitted_outputs():
    axes = ["centred", "itq", {"center": "median", "fitted_on": "training"}]
    figure = drawn({"precisions": ["int8", "binary"], "bit_axes": axes}, ["torch_fp32"])
    figure.canvas.draw()
    ((axis, _),) = panels(figure)
    assert {line.get_linestyle() for line in axis.get_lines() if line.get_drawstyle() == "steps-post"} == {
        "-",
        "--",
        ":",
    }
    labels = [text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()]
    assert labels[-3:] == [
        "frontier of bytes and quality",
        "frontier of bytes and quality, also fitted on training texts",
        "frontier of bytes and quality, also fitted on the corpus",
    ]
    assert "faster, and fitted on no more" in figure._suptitle.get_text().replace("\n", " ")
    extent = figure.legends[0].get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.x1
    for artist in (figure._suptitle, figure.legends[0]):
        assert 0 <= artist.get_window_extent().x0 <= artist.get_window_extent().x1 <= figure.bbox.x1


def test_one_speed_and_one_size_can_be_drawn():
    figure = drawn({"precisions": ["int8", "uint8"]}, ["torch_fp32"])
    figure.canvas.draw()
    assert len(panels(figure)) == 1
