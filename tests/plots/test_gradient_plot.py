"""Plot of training for bits: each method has one row and colour, and missing results are left out."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from qatlab.plots import plot, training
from qatlab.tables.bits import BETWEEN_SEEDS, CHANGED
from records import a_run

METHODS = ["untrained", "baseline", "published", "mended", "mended_with_a_long_name"]
COMPARED = METHODS[2:]
TITLE = "What training for bits is worth on code search, in a title that is as long as they come, and longer than a panel is wide"


pytestmark = pytest.mark.usefixtures("plot_style")


def runs(models=("",), seeds=(0, 1)):
    return [
        a_run(
            name=f"{method}-{model}-{seed}",
            method=method,
            seed=seed,
            varied={"matrix.model": model} if model else {},
        )
        for model in models
        for method in METHODS
        for seed in ([None] if method == "untrained" else seeds)
    ]


def logs(of_runs, precision="binary"):
    """Every second step is measured; seeds differ by a factor of 3."""
    ratios = {"published": 0.05, "mended": 1.0, "mended_with_a_long_name": 1.2}
    return {
        run.name: pd.DataFrame(
            {"step": [1, 2, 3, 4], "loss": 1.0, "gradient_ratio_int8": [1.0, np.nan, 1.0, np.nan]}
            | {f"gradient_ratio_{precision}": [ratios[run.method] * 3**run.seed, np.nan, 0.5, np.nan]}
        )
        for run in of_runs
        if run.method in ratios
    }


def tables(models=("",), between="3.10"):
    bits, differences = [], []
    for model in models:
        varied = {"matrix.model": model} if model else {}
        for at, method in enumerate(COMPARED):
            bits.append({"method": method, **varied, CHANGED: f"{at + 1}.50 ± 0.25", BETWEEN_SEEDS: between})
            for deploy, output in (("torch_fp32", "int8"), ("torch_fp32", "binary"), ("onnx_int8", "binary")):
                shift = 0.001 * at + (0.5 if (deploy, output) != ("torch_fp32", "binary") else 0)
                differences.append(
                    {"method": method, **varied, "deploy": deploy, "output precision": output, "value": "0.7000"}
                    | {"difference": f"{shift:+.4f}", "95 % interval": f"{shift - 0.002:+.4f} to {shift + 0.003:+.4f}"}
                )
    return pd.DataFrame(bits, dtype=str), pd.DataFrame(differences, dtype=str)


def drawn(of_runs=None, of_logs=None, of_tables=None, **kwargs):
    of_runs = of_runs or runs()
    return training.draw_gradient(
        of_runs,
        logs(of_runs) if of_logs is None else of_logs,
        of_tables or tables(**kwargs),
        "baseline",
        "nDCG@10",
        "torch_fp32",
        TITLE,
    )


def points(axis):
    """By the place of each point: where it is, its bar and its colour."""
    by_place = {}
    for container in axis.containers:
        line, _, bars = container.lines
        (segment,) = bars[0].get_segments() if bars else [None]
        by_place[line.get_ydata()[0]] = (
            line.get_xdata()[0],
            None if segment is None else segment[:, 0],
            line.get_color(),
        )
    return by_place


def test_a_method_has_one_place_and_one_colour():
    figure = drawn()
    ratio, bits, gain = figure.axes
    colours = {method: plot.COLOURS[METHODS.index(method)] for method in COMPARED}
    assert [text.get_text() for text in bits.get_yticklabels()] == COMPARED
    for axis in (bits, gain):
        assert [points(axis)[place][2] for place in range(3)] == list(colours.values())
    thick = [line.get_color() for line in ratio.lines if line.get_linewidth() == 1.8]
    assert thick == list(colours.values())
    legend = {text.get_text(): to_hex(handle.get_color()).upper() for text, handle in zip(
        figure.legends[0].get_texts(), figure.legends[0].legend_handles, strict=True) if text.get_text() in colours}  # fmt: skip
    assert legend == colours


def test_points_are_those_of_the_tables_and_logs():
    ratio, bits, gain = drawn().axes
    assert [points(bits)[place][0] for place in range(3)] == [1.5, 2.5, 3.5]
    assert points(bits)[1][1] == pytest.approx([2.25, 2.75])
    assert [points(gain)[place][0] for place in range(3)] == pytest.approx(
        [0.0, 0.001, 0.002]
    )  # not int8, nor onnx_int8
    assert points(gain)[2][1] == pytest.approx([0.0, 0.005])
    (mean, *_) = [line for line in ratio.lines if line.get_linewidth() == 1.8]
    assert mean.get_xdata().tolist() == [1, 3]  # steps that were measured
    assert mean.get_ydata().tolist() == pytest.approx([(0.05 + 0.15) / 2, 0.5])
    pale = [line.get_ydata().tolist() for line in ratio.lines if line.get_linewidth() == 0.8]
    assert len(pale) == 2 * 3
    assert pale[1] == pytest.approx([0.15, 0.5])
    assert ratio.get_yscale() == "log"
    assert {line.get_ydata()[0] for line in ratio.lines if line.get_linestyle() == "--"} == {1.0}
    between = next(patch for patch in bits.patches)
    assert (between.get_x(), between.get_width()) == pytest.approx((0, 3.1))


def test_another_value_of_the_matrix_is_a_row_of_its_own():
    models = ("minilm", "minilm_unnormalized")
    of_runs = runs(models)
    bits, differences = tables(models)
    bits.loc[bits["matrix.model"] == "minilm_unnormalized", CHANGED] = "9.00"
    figure = drawn(of_runs, of_tables=(bits, differences))
    assert len(figure.axes) == 6
    assert [axis.get_title().splitlines()[0] for axis in figure.axes[::3]] == [f"model={model}" for model in models]
    assert [points(figure.axes[at])[0][0] for at in (1, 4)] == [1.5, 9.0]
    assert points(figure.axes[4])[0][1] is None  # one seed has no deviation
    assert all(axis.get_xlim()[0] == 0 < 9.0 < axis.get_xlim()[1] for axis in (figure.axes[1], figure.axes[4]))


def test_booleans_of_the_matrix_match_cells_of_text_and_a_row_without_results_stays_empty():
    of_runs = [
        run.model_copy(update={"varied": {"matrix.model.normalize": value}})
        for value in (True, False)
        for run in runs()
    ]
    bits, differences = (table.assign(**{"matrix.model.normalize": "True"}) for table in tables())
    axes = drawn(of_runs, {}, (bits, differences)).axes
    assert [len(points(axis)) for axis in axes] == [0, 3, 3, 0, 0, 0]
    assert axes[0].get_title() == "normalize=True\ngradient of the bits"


def test_numbers_of_the_matrix_are_found_in_tables_of_texts():
    of_runs = [
        run.model_copy(update={"varied": {"matrix.trainer.batch_size": 64, "matrix.model.num_hidden_layers": None}})
        for run in runs()
    ]
    bits, differences = (
        table.assign(**{"matrix.trainer.batch_size": "64.0", "matrix.model.num_hidden_layers": "–"})
        for table in tables()
    )
    assert len(points(drawn(of_runs, of_tables=(bits, differences)).axes[1])) == 3


def test_what_failed_is_left_out_and_keeps_its_place():
    of_runs = runs()
    bits, differences = tables()
    bits.loc[bits["method"] == "mended", CHANGED] = "failed"
    bits.loc[bits["method"] == "published", CHANGED] = "1.25 (1 of 2 seeds failed)"
    differences.loc[differences["method"] == "mended", ["difference", "95 % interval"]] = "failed"
    left = {run: log for run, log in logs(of_runs).items() if not run.startswith("mended-")}
    ratio, panel, gain = drawn(of_runs, left, (bits, differences)).axes
    assert set(points(panel)) == set(points(gain)) == {0, 2}
    assert points(panel)[0][0] == 1.25
    assert [text.get_text() for text in panel.get_yticklabels()] == COMPARED
    assert len([line for line in ratio.lines if line.get_linewidth() == 1.8]) == 2


def test_nothing_is_drawn_without_results():
    bits, differences = tables()
    gone = bits.assign(**{CHANGED: "failed", BETWEEN_SEEDS: "failed"}), differences.assign(difference="failed")
    assert drawn(of_logs={}, of_tables=gone) is None
    figure = drawn(of_logs={}, of_tables=(gone[0], differences))
    assert [text.get_text() for axis in figure.axes[:2] for text in axis.texts] == ["no run has results for this"] * 2
    assert not figure.axes[2].texts


def test_logs_without_diagnostics_leave_their_panel_empty():
    of_runs = runs()
    plain = {run: log[["step", "loss"]] for run, log in logs(of_runs).items()}
    assert [text.get_text() for text in drawn(of_runs, plain).axes[0].texts] == ["no run has results for this"]


def test_without_a_baseline_the_gradient_stands_alone():
    of_runs = [run for run in runs() if run.method != "baseline"]
    figure = training.draw_gradient(of_runs, logs(of_runs), None, "baseline", "nDCG@10", "", TITLE)
    assert len(figure.axes) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == COMPARED


def test_a_baseline_that_trains_for_bits_has_its_line():
    of_runs = runs()
    figure = training.draw_gradient(of_runs, logs(of_runs), None, "published", "nDCG@10", "", TITLE)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == COMPARED


@pytest.mark.parametrize(
    ("precision", "named"), [("binary", ""), ("float32_x_binary", "float32 × binary"), ("int8", "int8")]
)
def test_the_precision_is_that_of_bits_or_else_the_first_that_is_no_float(precision, named):
    of_runs = [run for run in runs() if run.method in ("baseline", "mended")]
    log = pd.DataFrame({"step": [1], "gradient_ratio_float32": [1.0], f"gradient_ratio_{precision}": [0.25]})
    figure = training.draw_gradient(of_runs, {"mended--0": log}, None, "baseline", "nDCG@10", "", TITLE)
    (line,) = [line for line in figure.axes[0].lines if line.get_linewidth() == 1.8]
    assert line.get_ydata().tolist() == [0.25]
    (label,) = [text.get_text() for text in figure.legends[0].get_texts()]
    assert label == ("mended" + (f" (gradient of {named})" if named else ""))


@pytest.mark.parametrize("models", [("",), ("minilm", "minilm_unnormalized")])
def test_what_is_written_can_be_read(models):
    """Nothing is cut off, and no two texts lie on one another."""
    of_runs = runs(models)
    figure = drawn(of_runs, logs(of_runs, "float32_x_binary"), tables(models))
    figure.canvas.draw()
    texts = [figure._suptitle, *figure.legends[0].get_texts()]
    for axis in figure.axes:
        texts += [axis.title, axis.xaxis.label, axis.yaxis.label]
        for panel in (axis.xaxis, axis.yaxis):
            low, high = sorted(panel.get_view_interval())
            ticks = [
                tick for tick in panel.get_major_ticks() if tick.label1.get_visible() and low <= tick.get_loc() <= high
            ]
            texts += [tick.label1 for tick in ticks]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) > 20
    for at, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:at]), texts[at]
