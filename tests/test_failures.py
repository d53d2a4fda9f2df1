"""Failure marks: a failed stage writes the reason in one line beside its artifact, until the next attempt."""

import json
import signal

import pytest

from qatlab import __main__ as command
from qatlab.errors import Diverged, Stopped, UserError
from qatlab.progress import Mark, mark, mark_file, read_mark
from qatlab.stages import data


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Run the stage `data`, replaced by the given function, and return the exit code."""
    (tmp_path / "config.json").write_text(json.dumps({"label": "pairs", "config": {}}))
    output = tmp_path / "results" / "data" / "pairs-1"

    def run(do):
        monkeypatch.setattr(data, "run", lambda *given: do())
        return command.main(["data", "--config", str(tmp_path / "config.json"), "--output", str(output)])

    run.output = output
    return run


def raising(error):
    def fail():
        raise error

    return fail


def test_a_mark_holds_the_reason_and_is_removed_by_the_next_attempt(stage):
    assert stage(raising(UserError("pairs has no column 'anchor'"))) == 2
    assert read_mark(stage.output) == Mark("data", "pairs", "has no column 'anchor'")
    assert not stage.output.exists()
    assert stage(raising(RuntimeError("out of memory\nat 0x7f"))) == 1
    assert read_mark(stage.output).reason == "RuntimeError: out of memory"
    assert stage(lambda: None) == 0
    assert read_mark(stage.output) is None
    assert stage.output.is_dir()


def test_a_stage_that_a_signal_stopped_has_not_failed(stage):
    stage(raising(RuntimeError("first try")))
    assert stage(raising(Stopped("stopped at step 3", signal.SIGTERM))) == 128 + signal.SIGTERM
    assert not mark_file(stage.output).exists()
    assert stage(raising(KeyboardInterrupt())) == 128 + signal.SIGINT
    assert not mark_file(stage.output).exists()


def test_a_training_that_diverged_has_its_step_and_checkpoint_without_this_machines_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "train" / "ste-1"
    output.parent.mkdir()
    checkpoint = str(tmp_path / "train" / ".ste-1.checkpoints" / "checkpoint-9")
    mark(
        output, "train", "ste", Diverged(f"ste diverged at step 12; the last good one is {checkpoint}", 12, checkpoint)
    )
    failure = read_mark(output)
    assert (failure.step, failure.checkpoint) == (12, "train/.ste-1.checkpoints/checkpoint-9")
    assert failure.reason == "diverged at step 12; the last good one is train/.ste-1.checkpoints/checkpoint-9"
    mark(output, "train", "ste", ValueError("x" * 1000))
    assert len(read_mark(output).reason) == 300


def test_an_invalid_mark_is_ignored(tmp_path):
    assert read_mark(tmp_path / "nothing") is None
    mark_file(tmp_path / "half").write_text('{"stage": "tra')
    assert read_mark(tmp_path / "half") is None
