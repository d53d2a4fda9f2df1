"""A checkpoint that somebody put a pickle of code into is refused in one line, and the code does not run."""

import pytest

import malice
from killing import Killed, at_step, kill
from qatlab.artifact import checkpoint_folder, read_json, sha256_of, write_json
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.stages import train
from qatlab.training.resumable import INTERVAL, SEAL

TRAINER = {"batch_size": 16, "precision": "fp32", "num_train_epochs": 2}
TOLD = JobDescription(name="tried", label="tried", config={"method": {"name": "tried"}, "trainer": TRAINER, "seed": 0})


@pytest.mark.parametrize("write", [malice.torch_archive, malice.pickled], ids=lambda write: write.__name__)
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_of_code_in_a_checkpoint_does_not_run(training_inputs, tmp_path, monkeypatch, name, write):
    monkeypatch.setenv(INTERVAL, "0")
    output, marker = tmp_path / "train", tmp_path / "it_ran"
    output.mkdir()
    at_step(monkeypatch, 2, kill)
    with pytest.raises(Killed):
        train.run(TOLD, training_inputs, output, 1)
    newest = checkpoint_folder(output) / "checkpoint-2"
    assert (newest / name).is_file()
    write(newest / name, marker)
    sealed = read_json(newest / SEAL)
    sealed["files"][name] = sha256_of(newest / name)  # as one who may write files may do
    write_json(newest / SEAL, sealed)
    with pytest.raises(UserError, match=r"checkpoint-2 holds more than tensors .*; remove it and run again") as caught:
        train.run(TOLD, training_inputs, output, 1)
    assert "\n" not in str(caught.value)
    assert not marker.exists()
