"""Plot of the gain by the number of steps: its points are those of the tables and logs, for studies that vary the steps."""

import numpy as np
import pandas as pd
import pytest

from qatlab.plots import training
from qatlab.plots.training import SHIFT, STEPS
from records import a_run, a_study

STEP_COUNTS, GAINS = [16, 64, 256], {"binary": 0.01, "ste": -0.02}
METHODS = ["baseline", *GAINS]


pytestmark = pytest.mark.usefixtures("plot_style")


def runs(models=("",), seeds=(0, 1)):
    return [
        a_run(
            name=f"{method}-{model}-{steps}-{seed}",
            method=method,
            seed=seed,
            trained=f"train/{method}",
            trains_for=["binary"] if method != "baseline" else [],
            varied={STEPS: steps} | ({"matrix.model": model} if model else {}),
        )
        for method in METHODS
        for model in models
        for steps in STEP_COUNTS
        for seed in seeds
    ]


def logs(of_runs):
    """The cosine is steps / 1000, 0.1 more for the second seed, and measured at every second step."""
    return {
        run.name: pd.DataFrame(
            {"step": [1, 2], "loss": 1.0, "gradient_ratio_binary": [1.0, np.nan]}
            | {"gradient_cosine_binary": [run.varied[STEPS] / 1000 + 0.1 * run.seed, np.nan]}
        )
        for run in of_runs
        if run.method != "baseline"
    }


def differences(models=("",)):
    rows = [
        {"method": method, STEPS: str(steps)}
        | ({"matrix.model": model} if model else {})
        | {"deploy": "torch_fp32", "output precision": output, "value": "0.7"}
        | {
            "difference": f"{gain * steps + other:+.4f}",
            "95 % interval": f"{gain * steps - 1:+.4f} to {gain * steps + 2:+.4f}",
        }
        for method, gain in GAINS.items()
        for model in models
        for steps in STEP_COUNTS
        for output, other in (("float32", 0.5), ("binary", 0.0))
    ]
    return pd.DataFrame(rows, dtype=str)


def drawn(models=("",), **changed):
    of_runs = runs(models)
    given = {"runs": of_runs, "logs": logs(of_runs), "differences": differences(models), **changed}
    return training.draw_steps(**given, baseline="baseline", metric="nDCG@10", deploy="torch_fp32", title="Steps")


def curves(axis):
    """Return the points of each curve, and the ends of their bars."""
    return [
        (
            container[0].get_xdata(),
            container[0].get_ydata(),
            [segment[:, 1] for segment in container[2][0].get_segments()],
        )
        for container in axis.containers
    ]


def test_the_points_are_those_of_the_table_and_of_the_logs():
    left, right = drawn().axes
    for place, ((steps, gains, bars), gain) in enumerate(zip(curves(left), GAINS.values(), strict=True)):
        assert np.allclose(steps, np.array(STEP_COUNTS) * (1 + SHIFT * place))
        assert np.allclose(gains, gain * np.array(STEP_COUNTS))
        assert np.allclose(bars, [(gain * count - 1, gain * count + 2) for count in STEP_COUNTS])
    deviation = np.std([0, 0.1], ddof=1)
    for _, cosines, bars in curves(right):
        assert np.allclose(cosines, np.array(STEP_COUNTS) / 1000 + 0.05)
        assert np.allclose(
            bars, [(count / 1000 + 0.05 - deviation, count / 1000 + 0.05 + deviation) for count in STEP_COUNTS]
        )


def test_every_other_combination_has_a_row_of_panels():
    figure = drawn(("small", "large"))
    assert [axis.get_title().partition("\n")[0] for axis in figure.axes] == ["model=small"] * 2 + ["model=large"] * 2
    assert all(len(curves(axis)) == 2 for axis in figure.axes)


def test_missing_results_are_left_out():
    table = differences()
    table.loc[table["method"] == "ste", ["difference", "95 % interval"]] = "failed"
    figure = drawn(differences=table, logs={})
    left, right = figure.axes
    assert len(curves(left)) == 1
    assert [text.get_text() for text in right.texts] == ["no run has results for this"]
    assert drawn(differences=table[table["method"] == "ste"]) is None


def test_a_study_has_it_if_it_varies_the_steps_of_training_for_bits():
    study = a_study(runs=runs(), views=["against_baseline"])
    assert training.StepsPlot().wanted(study)
    for of_runs in (
        [run for run in runs() if run.varied[STEPS] == 16],
        [run for run in runs() if run.method == "baseline"],
        [run.model_copy(update={"varied": {}}) for run in runs()],
    ):
        assert not training.StepsPlot().wanted(study.model_copy(update={"runs": tuple(of_runs)}))
