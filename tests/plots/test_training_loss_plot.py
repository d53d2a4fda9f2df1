"""Plot of training losses: one panel per run, with the name of only this run above it."""

from itertools import pairwise

import pandas as pd

from qatlab.plots.diagnostics import draw_loss
from qatlab.plots.plot import use_style


def test_long_names_of_runs_do_not_overlap():
    use_style()
    log = pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]})
    names = [f"late_start:int8_percentile-trainer=wall_clock_short-seed={seed}" for seed in range(4)]
    figure = draw_loss(dict.fromkeys(names, log), "title")
    figure.draw_without_rendering()
    titles = [axis.title for axis in figure.axes]
    assert [title.get_text().replace("\n", "") for title in titles] == names
    boxes = [title.get_window_extent() for title in titles]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_a_training_of_one_step_is_visible_at_a_whole_step():
    use_style()
    figure = draw_loss({"run": pd.DataFrame({"step": [1], "loss": [2.0]})}, "title")
    (axis,) = figure.axes
    (line,) = axis.get_lines()
    assert line.get_marker() == "o"
    low, high = axis.get_xlim()
    assert [tick for tick in axis.get_xticks() if low <= tick <= high] == [1]


def test_the_term_of_a_float_teacher_has_a_name_of_its_own():
    use_style()
    log = pd.DataFrame(
        {"step": [1, 2], "loss": [2.5, 1.2], "loss_float32": [2.0, 1.0], "loss_float_teacher": [0.5, 0.2]}
    )
    figure = draw_loss({"taught": log, "plain": log[["step", "loss"]]}, "title")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["float32", "float teacher, weighted"]
    assert [len(axis.get_lines()) for axis in figure.axes] == [2, 1]
