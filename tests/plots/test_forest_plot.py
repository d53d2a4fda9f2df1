"""The forest plot: one row per method and output, deployments that agree share one, and colours that follow verdicts."""

import pandas as pd
import pytest

from qatlab.plots.forest import ForestPlot, draw_forest
from qatlab.plots.plot import plots_of
from qatlab.study.record import StudyRecord
from records import a_run, a_study


def table(rows):
    names = ["method", "deploy", "output precision", "difference", "95 % interval", "verdict"]
    frame = pd.DataFrame(rows, columns=names)
    frame.insert(3, "value", "0.5000")
    return frame


BASELINE = table(
    [
        ("ste", "torch_fp32", "int8", "+0.0200", "+0.0100 to +0.0300", "better"),
        ("ste", "onnx_fp32", "int8", "+0.0200", "+0.0100 to +0.0300", "better"),
        ("ste", "onnx_int8", "int8", "-0.0200", "-0.0300 to -0.0100", "worse"),
        ("ste", "torch_fp32", "binary", "+0.0010", "-0.0100 to +0.0120", "not separable"),
        ("hot", "torch_fp32", "binary", "failed", "failed", "failed"),
    ]
)
FLOAT = table(
    [
        ("baseline", "torch_fp32", "int8", "-0.0010", "-0.0020 to +0.0000", "not separable"),
        ("baseline", "onnx_fp32", "int8", "-0.0010", "-0.0020 to +0.0000", "not separable"),
        ("ste", "torch_fp32", "int8", "-0.0010", "-0.0020 to +0.0000", "not separable"),
        ("ste", "onnx_fp32", "int8", "-0.0010", "-0.0020 to +0.0000", "not separable"),
        ("ste", "onnx_int8", "int8", "-0.0010", "–", "not separable"),
    ]
)
TITLES = {"against_baseline": "less baseline", "against_float": "less float"}


def draw(tables, better="→"):
    return draw_forest(tables, TITLES, "A study", "baseline", better)


def labels(figure):
    return [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def test_a_row_shows_bytes_that_differ_from_those_of_the_baseline():
    wider = BASELINE.copy()
    wider.insert(3, "bytes per document", ["", "", "", "128 instead of 48", ""])
    shown = labels(draw({"against_baseline": wider, "against_float": FLOAT}))
    assert "ste · torch_fp32 · 128 instead of 48 bytes" in shown
    assert [label for label in shown if "bytes" not in label] == [
        label
        for label in labels(draw({"against_baseline": BASELINE, "against_float": FLOAT}))
        if label != "ste · torch_fp32"
    ]


def points(axis):
    """Row, difference, marker and colour of each difference."""
    lines = [line for line in axis.lines if line.get_marker() not in ("None", "")]
    return {
        (float(line.get_ydata()[0]), float(line.get_xdata()[0])): (line.get_marker(), line.get_color())
        for line in lines
    }


def bars(axis):
    return sorted(
        (float(path[0, 1]), float(path[0, 0]), float(path[1, 0])) for c in axis.collections for path in c.get_segments()
    )


def test_rows_are_labelled_in_blocks_with_the_baseline_first_and_equal_deployments_together():
    figure = draw({"against_baseline": BASELINE, "against_float": FLOAT})
    assert labels(figure) == [
        "int8",
        "baseline · torch_fp32, onnx_fp32",
        "ste · torch_fp32, onnx_fp32",
        "ste · onnx_int8",
        "binary",
        "ste · torch_fp32",
        "hot · torch_fp32",
    ]
    assert [axis.get_title() for axis in figure.axes] == ["less baseline", "less float"]
    assert {axis.get_xlabel() for axis in figure.axes} == {"difference, absolute (→ better)"}


def test_points_and_bars_are_those_of_the_tables_and_show_the_verdict():
    left, right = draw({"against_baseline": BASELINE, "against_float": FLOAT}).axes
    assert points(left) == {
        (2.0, 0.02): ("^", "#0072B2"),
        (3.0, -0.02): ("v", "#D55E00"),
        (5.0, 0.001): ("o", "#666666"),
    }
    assert bars(left) == [(2.0, 0.01, 0.03), (3.0, -0.03, -0.01), (5.0, -0.01, 0.012)]
    assert len(points(right)) == 3
    assert [bar[0] for bar in bars(right)] == [1.0, 2.0]  # a single query has no interval
    assert [text.get_text() for text in left.texts] == ["failed"]
    zero = [line for line in left.lines if list(line.get_xdata()) == [0, 0]]
    assert len(zero) == 1


def test_a_single_output_has_blocks_of_deployments_and_lower_may_be_better():
    figure = draw({"against_float": FLOAT.drop(columns="output precision")}, "←")
    assert labels(figure) == [
        "torch_fp32", "baseline", "ste", "onnx_fp32", "baseline", "ste", "onnx_int8", "ste",
    ]  # fmt: skip
    assert figure.axes[0].get_xlabel() == "difference, absolute (← better)"


def test_what_the_matrix_varies_is_in_the_label():
    varied = BASELINE.iloc[[0]].copy()
    varied.insert(1, "matrix.trainer.batch_size", "64")
    assert labels(draw({"against_baseline": varied})) == ["int8", "ste · batch_size=64 · torch_fp32"]


def test_nothing_to_draw():
    assert draw({"against_baseline": BASELINE.iloc[:0]}) is None
    assert draw({"against_baseline": pd.DataFrame()}) is None


@pytest.mark.parametrize(
    ("methods", "evaluate", "names"),
    [
        (("baseline", "ste"), {}, ["against_baseline", "against_float"]),
        (("baseline",), {}, ["against_float"]),
        (("baseline", "ste"), None, ["against_baseline"]),
        (("baseline",), None, []),
    ],
)
def test_a_study_has_it_for_the_tables_of_differences_that_it_has(tmp_path, methods, evaluate, names):
    runs = [a_run(name=f"{method}-seed=0", method=method, seed=0) for method in methods]
    study: StudyRecord = a_study(runs=runs, evaluate=evaluate)
    assert ("forest" in plots_of(study)) == bool(names)
    if names:
        from qatlab.plots.plot import DrawnFrom

        for name in names:
            {"against_baseline": BASELINE, "against_float": FLOAT}[name].to_csv(tmp_path / f"{name}.csv", index=False)
        figure = ForestPlot().draw(DrawnFrom(study, tmp_path, tmp_path))
        assert len(figure.axes) == len(names)
