"""Which runs have their bits compared: with the baseline of the same cell, and the baseline's seeds with one another."""

import pytest

from conftest import PROJECT
from qatlab.plan.plan import load_study

pytestmark = pytest.mark.slow(11)

CONF = PROJECT / "conf"
METHODS = "study.matrix.method=[untrained,baseline,ste,baseline:int8]"
SEEDS = "study.matrix.seed=[0,1,2]"
SMALL = ("deploy=[torch_fp32]", "study.decomposition=[]")


def plan(*overrides):
    return load_study(CONF, "quickstart", overrides=overrides)


def compared(study_plan):
    """By run: what each is compared with, and how."""
    return {run.name: set(run.bit_changes) for run in study_plan.runs if run.bit_changes}


def test_each_trained_run_is_compared_with_the_baseline_of_its_seed_and_the_baselines_seeds_with_later_ones():
    study_plan = plan(METHODS, SEEDS, *SMALL)
    tasks = ("stdlib", "networkx")

    def against(*names):
        return {(name, "torch_fp32", task) for name in names for task in tasks}

    of_methods = {
        f"{method}-seed={seed}": against(f"baseline-seed={seed}")
        for method in ("ste", "baseline:int8")
        for seed in range(3)
    }
    assert compared(study_plan) == {
        **of_methods,
        "baseline-seed=0": against("baseline-seed=1", "baseline-seed=2"),
        "baseline-seed=1": against("baseline-seed=2"),
    }


def test_an_artifact_is_made_from_the_two_encodings_of_the_task():
    study_plan = plan(METHODS, SEEDS, *SMALL)
    runs = {run.name: run for run in study_plan.runs}
    path = runs["ste-seed=1"].bit_changes["baseline-seed=1", "torch_fp32", "stdlib"]
    inputs = study_plan.artifacts[path].inputs
    assert inputs == {
        "reference": runs["baseline-seed=1"].encoded["torch_fp32", "stdlib"],
        "encode": runs["ste-seed=1"].encoded["torch_fp32", "stdlib"],
    }
    order = list(study_plan.artifacts)
    assert all(order.index(source) < order.index(path) for source in inputs.values())


def test_other_keys_of_the_matrix_are_the_same_on_both_sides():
    matrix = ("+study.matrix.model=[minilm,minilm_unnormalized]", "+study.matrix.trainer.batch_size=[32,64]")
    study_plan = plan(METHODS, "study.matrix.seed=[0,1]", *matrix, *SMALL)
    cells = {run.name: run.cell for run in study_plan.runs}
    for name, references in compared(study_plan).items():
        for reference, _, _ in references:
            assert {k: v for k, v in cells[name].items() if k not in ("method", "seed")} == {
                k: v for k, v in cells[reference].items() if k not in ("method", "seed")
            }
    assert len(compared(study_plan)) == 4 * (
        2 * 2 + 1
    )  # models × batch sizes × (trained methods × seeds + the baseline's first seed)


def test_an_untrained_baseline_is_one_run_for_every_seed_and_training():
    study_plan = plan(
        METHODS,
        "++study.baseline=untrained",
        "study.matrix.seed=[0,1]",
        "+study.matrix.trainer.batch_size=[32,64]",
        *SMALL,
    )
    names = {reference for references in compared(study_plan).values() for reference, _, _ in references}
    assert names == {"untrained"}
    assert len(compared(study_plan)) == 3 * 2 * 2
    assert "bits_changed" in study_plan.view_names()


@pytest.mark.parametrize(
    "overrides",
    [
        ["study.matrix.method=[untrained,ste]"],  # no baseline
        ["study.matrix.method=[baseline,baseline:int8]", SEEDS],  # nothing is trained for quantized embeddings
        [METHODS, "evaluate.precisions=[float32,int8]"],  # no bits
    ],
)
def test_nothing_is_compared_without_a_baseline_training_for_bits_or_bits(overrides):
    study_plan = plan(*SMALL, *overrides)
    assert not compared(study_plan)
    assert "bits_changed" not in study_plan.view_names()
    assert not [a for a in study_plan.artifacts.values() if a.kind == "bit_changes"]


def test_bits_that_are_documents_alone_count():
    assert compared(plan(METHODS, "evaluate.precisions=[float32_x_binary]", *SMALL))


def test_a_plain_deployment_in_pytorch_is_preferred():
    study_plan = plan(METHODS, "deploy=[onnx_int8,torch_bf16,torch_fp32,torch_itq]", "study.decomposition=[]")
    assert {deploy for keys in compared(study_plan).values() for _, deploy, _ in keys} == {"torch_fp32"}
    study_plan = plan(
        METHODS, "deploy=[torch_itq,onnx_int8,torch_bf16]", "drift.reference=onnx_int8", "study.decomposition=[]"
    )
    assert {deploy for keys in compared(study_plan).values() for _, deploy, _ in keys} == {"onnx_int8"}


def test_a_method_with_axes_of_its_own_is_compared_with_nothing():
    study_plan = plan("study.matrix.method=[baseline,ste,ste_itq,overcomplete_head]", *SMALL)
    assert set(compared(study_plan)) == {"ste-seed=0"}


def test_what_is_left_out_of_the_matrix_is_compared_with_nothing():
    study_plan = plan(METHODS, "study.matrix.seed=[0,1]", "++study.exclude=[{method: baseline, seed: 1}]", *SMALL)
    assert set(compared(study_plan)) == {"ste-seed=0", "baseline:int8-seed=0"}


def test_tables_find_the_paths():
    study_plan = plan(METHODS, "study.matrix.seed=[0,1]", *SMALL)
    config = study_plan.record()
    entries = {
        (run.name, entry.task): entry.bit_changes
        for run in config.runs
        for entry in run.evaluations
        if entry.bit_changes
    }
    assert len(entries) == 2 * (2 * 2 + 1)
    assert all(path in study_plan.artifacts for paths in entries.values() for path in paths.values())
    assert list(entries["baseline-seed=0", "stdlib"]) == ["baseline-seed=1"]
    assert config.views.index("bits_changed") > config.views.index("against_float")
