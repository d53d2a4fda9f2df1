"""Studies of recipes for bits and of two stages: they plan at every scale, and compare what their questions name."""

from functools import cache

import pytest
import yaml

from conftest import PROJECT
from qatlab.evaluation.outputs import outputs
from qatlab.job import START
from qatlab.plan.plan import load_study, trainings
from qatlab.tables.labels import precision_label

CONF = PROJECT / "conf"


@cache
def planned(study, scale=None):
    """Plan a study with one of its seeds, once for all tests."""
    return load_study(CONF, study, scale, ["study.matrix.seed=[0]"])


SCALES = [
    ("steps_to_pay", None, 5),
    ("steps_to_pay", "layers_2", 5),
    ("binary_recipes", None, 8),
    ("binary_recipes", "full", 8),
    ("binary_heads", None, 6),
    ("binary_heads", "static", 6),
    ("binary_heads", "full", 6),
    ("frozen_heads", None, 5),
    ("frozen_heads", "one_task", 1),
    ("frozen_heads", "full", 5),
    ("weights_two_stage", None, 8),
    ("binary_native", None, 4),
    ("binary_native", "bits_512", 4),
    ("binary_native", "bits_2048", 4),
]


@pytest.mark.slow(2)
@pytest.mark.parametrize(("study", "scale", "answers"), SCALES)
def test_every_scale_plans_all_answers_to_its_question(study, scale, answers):
    study_plan = planned(study, scale)
    assert study_plan.question.endswith("?")
    assert len(study_plan.answers) == answers
    evaluate = study_plan.runs[0].config.evaluate
    written = {precision_label(output.query, output.document) for output in outputs(evaluate, "retrieval")}
    assert {answer.precision for answer in study_plan.answers} <= written


def test_steps_to_pay_draws_its_curve_and_has_a_whole_matrix():
    study_plan = planned("steps_to_pay")
    assert len(study_plan.runs) == 3 * 4
    assert "steps" in study_plan.plot_names()
    assert [line.partition(" steps")[0] for line in trainings(study_plan.runs)] == [
        f"3 trainings of {steps}" for steps in ("16", "64", "256", "1,024")
    ]
    assert "steps" not in planned("binary_native").plot_names()


def test_binary_recipes_compares_recipes_at_equal_bytes():
    for scale in (None, "full"):
        config = planned("binary_recipes", scale).runs[0].config
        widths = {axes.bits or 384 for axes in config.evaluate.bit_axes}
        assert {bits // 8 for bits in widths} == {48, 96, 128}
        tasks, data = config.task, config.data
        assert len(tasks) == 3
        assert sum(task.queries for task in tasks.values()) >= 2000
        assert {task.package for task in tasks.values()} == set(data.held_out)
        assert not set(data.packages) & set(data.held_out)


@pytest.mark.parametrize("scale", [None, "full"])
def test_binary_heads_are_trained_on_the_encoders_of_binary_recipes(scale):
    heads, recipes = planned("binary_heads", scale), planned("binary_recipes", scale)
    (encoder,) = {run.trained for run in heads.runs if run.config.method.name == "baseline"}
    assert encoder in recipes.artifacts
    starts = {
        run.config.method.head.fitted_on: heads.artifacts[run.trained].inputs[START]
        for run in heads.runs
        if run.config.method.head
    }
    assert starts == dict.fromkeys(("pairs", "corpus", "both"), encoder)


def test_a_head_has_a_control_that_trains_for_twice_as_many_steps():
    study_plan = planned("binary_heads", "static")
    steps = {run.config.method.name: study_plan.artifacts[run.trained] for run in study_plan.runs}
    assert trainings(study_plan.runs)[-1].startswith("3 trainings of a head")
    assert [line for line in trainings(study_plan.runs) if "100 % more steps" in line]
    assert steps["from_baseline_head_pairs"].inputs[START] == steps["baseline"].path


def test_frozen_heads_trains_no_encoder():
    study_plan = planned("frozen_heads")
    methods = [a.config.method for a in study_plan.artifacts.values() if a.kind == "train"]
    assert [method.name for method in methods if method.head is None] == []
    assert len(methods) == 3
    assert trainings(study_plan.runs) == ["3 trainings of a head: up to 2,000 steps on cached embeddings"]


def test_weights_two_stage_gives_both_orders_as_many_steps():
    study_plan = planned("weights_two_stage")
    steps = {}
    for run in study_plan.runs:
        training = study_plan.artifacts[run.trained]
        first = training.inputs.get(START)
        before = study_plan.artifacts[first].config.trainer.max_steps if first else 0
        steps[run.config.method.name] = before + run.config.steps
    assert set(steps.values()) == {128}
    assert len(steps) == 11


def test_binary_native_has_as_many_random_bits_as_trained_ones():
    study_plan = planned("binary_native", "bits_2048")
    rotations = {run.config.method.name: run.config.method.rotation for run in study_plan.runs}
    assert {name: (r.bits, r.trainable) for name, r in rotations.items()} == {
        "baseline": (2048, False),
        "overcomplete_head_float": (2048, True),
        "overcomplete_head": (2048, True),
    }
    in_float, in_bits = (study_plan.runs[position].config.method for position in (1, 2))
    assert in_float.embedding_quantization is None
    assert in_bits.embedding_quantization.precisions["float32_x_binary"].weight > 0
    axes = planned("binary_native").runs[0].config.evaluate.bit_axes
    assert {axis.bits for axis in axes if axis.kind == "overcomplete"} == {1024, 2048}


@pytest.mark.parametrize("study", ["steps_to_pay", "binary_recipes", "binary_heads", "frozen_heads", "binary_native"])
def test_studies_of_bits_have_five_seeds(study):
    values = yaml.safe_load((CONF / "study" / f"{study}.yaml").read_text(encoding="utf-8"))
    assert len(values["study"]["matrix"]["seed"]) == 5
