"""Studies of recipes for bits and of two stages: they plan at every scale, and compare what their questions name."""

import pytest

from conftest import PROJECT
from qatlab.evaluation.outputs import outputs
from qatlab.job import START
from qatlab.plan.plan import load_study, trainings

CONF = PROJECT / "conf"
ONE_SEED = "study.matrix.seed=[0]"
SCALES = [
    ("steps_to_pay", None, 5),
    ("steps_to_pay", "static", 5),
    ("steps_to_pay", "gpu", 5),
    ("binary_recipes", None, 8),
    ("binary_recipes", "full", 8),
    ("weights_two_stage", None, 6),
    ("weights_two_stage", "full", 6),
    ("binary_native", None, 3),
    ("binary_native", "bits_2048", 3),
]


@pytest.mark.slow(1)
@pytest.mark.parametrize(("study", "scale", "answers"), SCALES)
def test_every_scale_plans_all_answers_to_its_question(study, scale, answers):
    study_plan = load_study(CONF, study, scale, [ONE_SEED])
    assert study_plan.question.endswith("?")
    assert len(study_plan.answers) == answers
    written = {
        label for output in outputs(study_plan.runs[0].config.evaluate, "retrieval") for label in _labels(output)
    }
    assert {answer.precision for answer in study_plan.answers} <= written


def _labels(output):
    queries, documents = output.columns["query_precision"], output.columns["doc_precision"]
    return {queries} if queries == documents else {f"{queries} × {documents}"}


def test_steps_to_pay_draws_its_curve_and_has_a_whole_matrix():
    study_plan = load_study(CONF, "steps_to_pay")
    assert len(study_plan.runs) == 3 * 4 * 5
    assert "steps" in study_plan.plot_names()
    assert [line.partition(" steps")[0] for line in trainings(study_plan.runs)] == [
        f"15 trainings of {steps}" for steps in ("16", "64", "256", "1,024")
    ]
    assert "steps" not in load_study(CONF, "binary_native", overrides=[ONE_SEED]).plot_names()


def test_binary_recipes_compares_recipes_at_equal_bytes():
    (full, small) = (load_study(CONF, "binary_recipes", scale, [ONE_SEED]) for scale in ("full", None))
    evaluate = small.runs[0].config.evaluate
    bits = [o.columns["doc_bytes"] for o in outputs(evaluate, "retrieval") if o.columns["doc_precision"] == "binary"]
    assert bits
    tasks = full.runs[0].config.task
    assert len(tasks) == 3
    assert sum(task.queries for task in tasks.values()) >= 2000
    data = full.runs[0].config.data
    assert {task.package for task in tasks.values()} == set(data.held_out)
    assert not set(data.packages) & set(data.held_out)
    seeds = load_study(CONF, "binary_recipes").runs
    assert len({run.config.seed for run in seeds if run.config.method.train}) == 5


def test_weights_two_stage_gives_both_orders_as_many_steps():
    study_plan = load_study(CONF, "weights_two_stage", overrides=[ONE_SEED])
    steps = {}
    for run in study_plan.runs:
        training = study_plan.artifacts[run.trained]
        first = training.inputs.get(START)
        before = study_plan.artifacts[first].config.trainer.max_steps if first else 0
        steps[run.config.method.name] = before + run.config.steps
    assert set(steps.values()) == {128}
    assert len(steps) == 8


def test_binary_native_has_as_many_random_bits_as_trained_ones():
    study_plan = load_study(CONF, "binary_native", "bits_2048", [ONE_SEED])
    rotations = {run.config.method.name: run.config.method.rotation for run in study_plan.runs}
    assert {name: (r.bits, r.trainable) for name, r in rotations.items()} == {
        "baseline": (2048, False),
        "overcomplete_head": (2048, True),
    }
    axes = load_study(CONF, "binary_native", overrides=[ONE_SEED]).runs[0].config.evaluate.bit_axes
    assert {axis.bits for axis in axes if axis.kind == "overcomplete"} == {1024, 2048}
