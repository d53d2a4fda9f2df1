"""Sizes of trainings, before any is done."""

import pytest

from conftest import PROJECT
from qatlab.losses.terms import WeightSchedule
from qatlab.plan.compose import compose_runs
from qatlab.plan.plan import load_study, steps_of, trainings

CONF = PROJECT / "conf"


def test_the_pull_requests_trainings_have_as_many_steps_as_it_says():
    steps = {
        (config.data.rows, config.trainer.batch_size): steps_of(config)
        for _, config in compose_runs(CONF, "pr3655_gooaq")
    }
    assert steps == {(90000, 64): 1407, (90000, 128): 704, (990000, 128): 7735, (2990000, 64): 46719}


@pytest.mark.parametrize(
    ("study", "steps"),
    [
        # Half an epoch of 761,918 rows in batches of 300; three seeds of 60 steps; 900,000 rows in batches of 64; as many as went into
        # ten minutes, or ten minutes.
        ("embeddinggemma_int8", {1270}),
        ("weight_schemes_memory", {60}),
        ("translation_qat_ptq", {14062}),
    ],
)
def test_other_studies_have_the_steps_of_theirs(study, steps):
    runs = [config for _, config in compose_runs(CONF, study) if config.method.train]
    assert {steps_of(config) for config in runs} == steps


def test_a_small_scale_has_a_hundredth_of_its_steps():
    runs = compose_runs(CONF, "pr3655_gooaq", "small")
    assert len(runs) == 16
    assert sorted({steps_of(config) for _, config in runs}) == [7, 14, 78, 468]


def test_each_size_is_a_line():
    plan = load_study(CONF, "pr3655_gooaq")
    assert trainings(plan.runs)[0] == "4 trainings of 1,407 steps: 90,000 rows, batches of 64"
    assert len(trainings(plan.runs)) == 4


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data.rows=null"], "1 training of as many steps: all rows, batches of 64"),
        (["trainer.max_steps=7", "data.rows=null"], "1 training of 7 steps: all rows, batches of 64"),
        (
            ["trainer.num_train_epochs=0.5", "trainer.gradient_accumulation_steps=2"],
            "1 training of 4 steps: 0.5 epochs of 1,024 rows, batches of 64 × 2",
        ),
    ],
)
def test_unusual_settings_are_printed(overrides, line):
    plan = load_study(CONF, "quickstart", "full", ["study.matrix.method=[untrained,baseline]", *overrides])
    assert trainings(plan.runs) == [line]


def test_extra_steps_are_counted_and_printed():
    methods = ["study.matrix.method=[untrained,baseline,baseline_longer]"]
    lines = ["1 training of 16 steps: 1,024 rows, batches of 64"]
    lines += ["1 training of 17 steps: 1,024 rows, batches of 64, 5 % more steps"]
    assert trainings(load_study(CONF, "quickstart", "full", methods).runs) == lines


def test_the_staged_warm_up_does_not_finish_where_the_pull_requests_thread_says_so():
    """78 % of binary's weight at the end of 90,000 rows in batches of 64, 39 % in batches of 128."""
    reached = {}
    for cell, config in compose_runs(CONF, "pr3655_gooaq"):
        if cell["method"] == "pr3655_staged_warmup":
            binary = config.method.embedding_quantization.precisions["binary"]
            last = WeightSchedule(**binary.model_dump()).at(steps_of(config) - 1, steps_of(config))
            reached[config.data.rows, config.trainer.batch_size] = round(100 * last / binary.weight)
    assert reached == {(90000, 64): 78, (90000, 128): 39, (990000, 128): 100, (2990000, 64): 100}
