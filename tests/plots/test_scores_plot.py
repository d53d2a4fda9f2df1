"""The plot of scores: a row of panels for what the matrix varies, deployments beside one another where there is one output."""

from itertools import pairwise

import pandas as pd

from conftest import AS_IT_IS
from qatlab.plots.scores import draw_scores


def scores(precisions=("float32", "int8"), sizes=(None,), deployments=("torch_fp32", "onnx_int8"), loss=0.01):
    rows = [
        {"method": method, "seed": 0, "deploy": deploy, "task": task, "query_precision": precision,
         "doc_precision": precision, "rotation": "none", "metric": "ndcg@10", "stderr": 0.01, **AS_IT_IS,
         "value": 0.5 - (deploy == "onnx_int8") * loss}
        | ({} if size is None else {"matrix.trainer.batch_size": size if method != "untrained" else float("nan")})
        for method in ("untrained", "baseline") for size in sizes for deploy in deployments for task in "ab"
        for precision in precisions
    ]  # fmt: skip
    return pd.DataFrame(rows)


def panels(figure):
    return [axis.get_title() for axis in figure.axes]


def ticks(figure):
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_a_panel_a_deployment():
    figure = draw_scores(scores(), "ndcg@10", "title", "nDCG@10")
    assert panels(figure) == ["torch_fp32", "onnx_int8"]
    assert ticks(figure) == ["float32", "int8"]


def test_deployments_that_agree_to_four_digits_share_a_panel_that_names_them():
    three = ("torch_fp32", "onnx_fp32", "onnx_int8")
    assert panels(draw_scores(scores(deployments=three), "ndcg@10", "title", "nDCG@10")) == [
        "torch_fp32, onnx_fp32",
        "onnx_int8",
    ]
    assert panels(draw_scores(scores(loss=0.00004), "ndcg@10", "title", "nDCG@10")) == ["torch_fp32, onnx_int8"]
    assert panels(draw_scores(scores(loss=0.0001), "ndcg@10", "title", "nDCG@10")) == ["torch_fp32", "onnx_int8"]


def test_a_deployment_that_lacks_results_has_a_panel_of_its_own():
    rows = scores(loss=0)
    rows = rows[(rows["deploy"] == "torch_fp32") | (rows["method"] == "baseline")]
    assert panels(draw_scores(rows, "ndcg@10", "title", "nDCG@10")) == ["torch_fp32", "onnx_int8"]


def test_a_row_for_each_size_with_untrained_models_in_all_of_them():
    figure = draw_scores(scores(sizes=(64, 128)), "ndcg@10", "title", "nDCG@10")
    assert panels(figure)[0::2] == ["batch_size=64 · torch_fp32", "batch_size=128 · torch_fp32"]
    assert all(len(axis.containers) == 2 for axis in figure.axes)
    for axis in figure.axes:
        for bars in axis.containers:
            assert pd.notna(bars[0].get_ydata()).all()


def test_one_output_has_its_deployments_in_one_panel():
    figure = draw_scores(scores(precisions=("text",)), "ndcg@10", "title", "chrF")
    assert panels(figure) == [""]
    assert ticks(figure) == ["torch_fp32", "onnx_int8"]


def test_a_tick_is_in_the_middle_of_its_methods_even_if_some_have_no_points():
    shown = scores(precisions=("text",), deployments=("torch_fp32",), sizes=(64, 128))
    shown = shown[(shown["method"] == "baseline") | (shown["matrix.trainer.batch_size"] == 64)]
    for axis in draw_scores(shown, "ndcg@10", "title", "bits per byte").axes:
        low, high = axis.get_xlim()
        assert axis.get_xticks().tolist() == [(low + high) / 2]


def test_long_names_have_room_beside_one_another():
    long = ("torch_fp32", "torchao:int8_percentile", "torchao:int6_percentile")
    figure = draw_scores(scores(precisions=("text",), deployments=long), "ndcg@10", "title", "chrF")
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_seeds_are_named_where_a_model_was_trained():
    shown = scores()
    trained, untrained = (
        draw_scores(rows, "ndcg@10", "title", "nDCG@10").get_suptitle() for rows in (shown, shown.assign(seed=pd.NA))
    )
    assert "1 seed" in trained
    assert "interval over queries" in untrained
    assert "seed" not in untrained
