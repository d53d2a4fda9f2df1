"""A full disk (a small tmpfs) causes a one-line error for every library that writes, and leaves no output that looks valid."""

import errno
import subprocess

import pytest

from qatlab.__main__ import main
from qatlab.artifact import checkpoint_folder, write_json
from qatlab.errors import full
from qatlab.progress import read_mark
from qatlab.training.resumable import INTERVAL

pytestmark = pytest.mark.slow(35)

DISK = 1024  # KiB
TRAINER = {"batch_size": 16, "learning_rate": 1e-3, "precision": "fp32"}


@pytest.fixture
def disk(tmp_path):
    """Return a function that creates a folder on a disk of its own with the given number of free KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")

    def with_free(kib):
        (folder / "other").write_bytes(b"x" * (DISK - kib) * 1024)
        return folder

    yield with_free
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def inputs(training_inputs):
    return training_inputs


def run(stage, config, inputs, folder, tmp_path, log=None):
    write_json(tmp_path / "config.json", {"name": "tried", "label": "tried", "config": config, "origin": None})
    roles = [word for role, path in inputs.items() for word in ("--input", f"{role}={path}")]
    logged = ["--log", str(log)] if log else []
    output = folder / "made"
    return main([stage, "--config", str(tmp_path / "config.json"), *roles, "--output", str(output), *logged])


STAGES = {
    "train": {"method": {"name": "tried"}, "trainer": TRAINER, "seed": 0},
    "deploy": {"backend": "onnx"},
    "data": {"source": "docstrings", "name": "d", "packages": ["stdlib"], "held_out": [], "rows": 2000},
}


@pytest.mark.parametrize("free", [0, 8, 100])
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_on_a_full_disk_fails_with_one_line_and_leaves_no_files(disk, inputs, tmp_path, capfd, stage, free):
    folder = disk(free)
    given = {"train": inputs, "deploy": {"model": inputs["model"]}, "data": {}}[stage]
    assert run(stage, STAGES[stage], given, folder, tmp_path, folder / "log") == 2
    messages = [line for line in capfd.readouterr().err.splitlines() if "no space" in line]
    assert len(messages) == 1
    assert messages[0].startswith(f"{stage} tried failed: no space is left on the disk of {folder}; free some space")
    assert {path.name for path in folder.iterdir()} <= {"other", "log", ".made.failed.json"}
    if (folder / ".made.failed.json").exists():  # there was room for it: it is whole
        assert read_mark(folder / "made").reason.startswith("no space is left")


def test_training_does_not_resume_from_an_incomplete_checkpoint(disk, inputs, tmp_path, capfd, monkeypatch):
    """With more space, training resumes from the latest complete checkpoint."""
    monkeypatch.setenv(INTERVAL, "0")
    folder = disk(800)
    config = {**STAGES["train"], "trainer": {**TRAINER, "num_train_epochs": 2}}
    assert run("train", config, inputs, folder, tmp_path) == 2
    assert "no space is left" in capfd.readouterr().err
    whole = [path for path in checkpoint_folder(folder / "made").iterdir() if (path / "complete.json").exists()]
    assert len(whole) == 1
    subprocess.run(["mount", "-o", "remount,size=8m", folder], check=True)
    assert run("train", config, inputs, folder, tmp_path) == 0
    assert f"resuming from {whole[0].name}" in capfd.readouterr().err
    assert (folder / "made" / "model" / "model.safetensors").exists()


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    assert full(OSError(errno.ENOENT, "No such file"), tmp_path) is None
    assert full(ValueError("nothing left"), tmp_path) is None


def test_a_quota_and_the_cause_of_an_error_are_recognized(tmp_path):
    assert full(OSError(errno.EDQUOT, "Disk quota exceeded"), tmp_path)
    error = RuntimeError("could not write")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert full(error, tmp_path / "not" / "there")
