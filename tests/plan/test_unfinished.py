"""What a study lacks when jobs have failed: what follows a failed job has failed too, and what was not run has not."""

import subprocess

import pytest

from conftest import PROJECT
from qatlab.errors import UserError
from qatlab.plan import plan as unfinished
from qatlab.plan.plan import UNKNOWN_REASON, load_study, missing_artifacts, show, summary
from qatlab.progress import mark
from qatlab.tables.missing import FAILED, NOT_RUN, MissingArtifact


@pytest.fixture(scope="module")
def plan():
    overrides = ["study.matrix.seed=[0,1]", "evaluate.precisions=[float32,int8,binary]"]
    return load_study(PROJECT / "conf", "quickstart", overrides=overrides)


def followers(plan, path):
    """The artifact, and all that is made from it."""
    paths = {path}
    for follows, artifact in plan.artifacts.items():
        if paths & set(artifact.inputs.values()):
            paths.add(follows)
    return paths


def test_what_follows_has_failed_for_the_first_cause_even_where_an_earlier_workflow_left_it(plan, tmp_path):
    run = next(run for run in plan.runs if run.name == "ste-seed=1")
    other = next(run for run in plan.runs if run.name == "baseline-seed=0")
    for path in plan.artifacts:  # an earlier workflow has made all of them
        (tmp_path / path).mkdir(parents=True)
    mark(tmp_path / run.trained, "train", "ste-seed=1", UserError("ste-seed=1 diverged at step 12"))
    lacking = followers(plan, run.trained) | followers(plan, other.trained)
    missing = missing_artifacts(plan, tmp_path, lacking, {run.trained})
    assert set(missing) == lacking
    deployed, scored = run.deployed["onnx_int8"], run.scored["onnx_int8", "stdlib"]
    assert missing[deployed] == MissingArtifact(status=FAILED, reason="train ste-seed=1: diverged at step 12")
    assert (missing[scored].status, missing[scored].reason) == (FAILED, "train ste-seed=1: diverged at step 12")
    assert missing[other.scored["onnx_int8", "stdlib"]].status == NOT_RUN
    rows = missing[scored].figures
    assert {row["doc_precision"] for row in rows} == {"float32", "int8", "binary"}
    assert missing[scored].kind == "retrieval"
    lines = list(summary(plan, missing))
    count = len(plan.runs)
    assert lines[0] == (
        f"quickstart: tables show 1 of {count} runs as failed (ste-seed=1), 1 of {count} runs as not run (baseline-seed=0); "
        "correct the causes, and run the same command again to complete them"
    )
    assert lines[1:] == ["quickstart: train ste-seed=1: diverged at step 12"]


def test_a_job_that_could_not_say_why_was_killed(plan, tmp_path):
    path = plan.runs[1].trained
    missing = missing_artifacts(plan, tmp_path, {path}, {path})
    assert missing[path].reason.endswith(f": {UNKNOWN_REASON}")


def test_tables_that_cannot_be_made_are_reported_as_old(plan, tmp_path, monkeypatch):
    commands = []

    def run(command, check):
        commands.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(unfinished.subprocess, "run", run)
    path = plan.runs[1].trained
    lines = list(show(plan, tmp_path, missing_artifacts(plan, tmp_path, {path}, {path}), ["tables", "plots"]))
    assert len(commands) == 1
    assert lines == [
        f"quickstart: tables of the existing results could not be made; those in {tmp_path}/studies/quickstart are from an earlier workflow"
    ]
