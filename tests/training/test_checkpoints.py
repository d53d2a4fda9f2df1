"""A training that is killed resumes from its checkpoint and ends with the weights and log of an uninterrupted one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from killing import Killed, at_step, kill
from qatlab.__main__ import main
from qatlab.artifact import checkpoint_folder, sha256_of, write_json
from qatlab.errors import Stopped, UserError
from qatlab.job import JobDescription
from qatlab.machine.processes import APART
from qatlab.stages import train
from qatlab.training.resumable import INTERVAL

pytestmark = pytest.mark.slow(47)

INT8 = {"float32": {}, "int8": {}}
INT4 = {"name": "tried", "bits": 4, "group_size": 32}
METHODS = {
    "plain": {},
    "running": {"embedding_quantization": {"precisions": INT8, "ranges": {"kind": "running", "momentum": 0.5}}},
    "running_quantiles": {
        "embedding_quantization": {
            "precisions": {"int8": {}, "int2_quantile": {}, "ternary": {}},
            "ranges": {"kind": "running", "momentum": 0.5},
        }
    },
    "lsq": {
        "embedding_quantization": {
            "precisions": {"int8": {}, "int4": {}},
            "ranges": {"kind": "learned"},
            "estimator": {"name": "lsq"},
        }
    },
    "learned_scale": {
        "embedding_quantization": {"precisions": {"float32": {}, "binary": {}}, "learned_scales": ["binary"]},
    },
    "staged": {"embedding_quantization": {"precisions": {"float32": {}, "binary": {"start_steps": 5}}}},
    "rotation": {
        "rotation": {"kind": "itq", "trainable": True},
        "embedding_quantization": {"precisions": {"binary": {}}},
    },
    "late_weights": {
        "weights": {**INT4, "activations": "int8"},
        "weights_start": {"weights": {"steps": 5}},
    },
    "clip": {"weights": {"name": "tried", "clip": {"kind": "percentile", "share": 0.999}}},
    "onnx": {"weights": {"name": "tried", "grid": "onnx_int8", "activations": "int8", "embeddings": True}},
    "adapters": {"lora": {"r": 4, "lora_dropout": 0.1}, "weights": INT4},
    "merged_adapters": {"lora": {"r": 4, "quantized": "merged"}, "weights": INT4},
    "cached": {
        "loss": {"name": "cached_multiple_negatives_ranking"},
        "embedding_quantization": {"precisions": INT8},
    },
}


@pytest.fixture
def inputs(training_inputs):
    return training_inputs


@pytest.fixture(autouse=True)
def after_every_step(monkeypatch):
    monkeypatch.setenv(INTERVAL, "0")


def description(method, **trainer):
    sizes = {"batch_size": 16, "learning_rate": 1e-3, "precision": "fp32", "num_train_epochs": 2, **trainer}
    config = {"method": {"name": "tried", **method}, "trainer": sizes, "seed": 0}
    return JobDescription(name="tried", label="tried", config=json.loads(json.dumps(config)))


def trained(inputs, output, job_description):
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    train.run(job_description, inputs, output, 2)
    return sha256_of(output / "model" / "model.safetensors"), pd.read_csv(output / "log.csv")


def killed_at(monkeypatch, step, inputs, output, job_description):
    at_step(monkeypatch, step, kill)
    with pytest.raises(Killed):
        trained(inputs, output, job_description)


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_training_ends_as_if_uninterrupted(inputs, tmp_path, monkeypatch, capsys, name):
    """Killed in the first epoch, and again in the second."""
    job_description = description(METHODS[name])
    weights, log = trained(inputs, tmp_path / "uninterrupted", job_description)
    killed_at(monkeypatch, 3, inputs, tmp_path / "killed", job_description)
    killed_at(monkeypatch, 6, inputs, tmp_path / "killed", job_description)
    again, log_again = trained(inputs, tmp_path / "killed", job_description)
    assert "resuming from checkpoint-3" in (messages := capsys.readouterr().err)
    assert "resuming from checkpoint-6" in messages
    pd.testing.assert_frame_equal(log, log_again, check_exact=True)
    assert weights == again
    for ranges in (tmp_path / "uninterrupted" / "model").rglob("*.npz"):
        assert sha256_of(ranges) == sha256_of(tmp_path / "killed" / ranges.relative_to(tmp_path / "uninterrupted"))


def test_with_accumulated_gradients_too(inputs, tmp_path, monkeypatch):
    job_description = description(
        {}, batch_size=8, gradient_accumulation_steps=3, warmup_steps=2, lr_scheduler_type="cosine"
    )
    weights, log = trained(inputs, tmp_path / "uninterrupted", job_description)
    killed_at(monkeypatch, 4, inputs, tmp_path / "killed", job_description)
    again, log_again = trained(inputs, tmp_path / "killed", job_description)
    assert len(log_again) == len(log) == 6
    assert weights == again


@pytest.mark.parametrize("harm", ["truncated", "changed", "without_seal"])
def test_a_damaged_checkpoint_is_skipped_for_the_previous_one(inputs, tmp_path, monkeypatch, capsys, harm):
    job_description = description({})
    weights, _ = trained(inputs, tmp_path / "uninterrupted", job_description)
    output = tmp_path / "killed"
    killed_at(monkeypatch, 5, inputs, output, job_description)
    newest = checkpoint_folder(output) / "checkpoint-5"
    file = newest / "optimizer.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if harm == "without_seal":
        (newest / "complete.json").unlink()
    else:
        file.write_bytes(content[:100] if harm == "truncated" else content)
    again, _ = trained(inputs, output, job_description)
    messages = capsys.readouterr().err
    why = "it is incomplete" if harm == "without_seal" else "optimizer.pt is damaged"
    assert f"checkpoint-5 is not used: {why}" in messages
    assert "resuming from checkpoint-4" in messages
    assert weights == again


def test_two_checkpoints_are_kept_and_none_of_another_training_is_resumed(inputs, tmp_path, monkeypatch, capsys):
    killed_at(monkeypatch, 5, inputs, tmp_path / "tried", description({}))
    checkpoints = sorted(path.name for path in checkpoint_folder(tmp_path / "tried").iterdir())
    assert checkpoints == ["checkpoint-4", "checkpoint-5"]
    other = description({}, learning_rate=2e-3)
    weights, _ = trained(inputs, tmp_path / "other", other)
    again, _ = trained(inputs, tmp_path / "tried", other)
    assert "checkpoint-5 is not used: it comes from other code, versions or data" in capsys.readouterr().err
    assert weights == again


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_and_the_next_run_resumes_from_it(inputs, tmp_path, monkeypatch, number):
    monkeypatch.setenv(INTERVAL, "3600")
    job_description = description({})
    weights, _ = trained(inputs, tmp_path / "uninterrupted", job_description)
    before = signal.getsignal(number)
    at_step(monkeypatch, 2, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Stopped, match=r"stopped at step 3; the same command resumes from checkpoint-3") as stopped:
        trained(inputs, tmp_path / "told", job_description)
    assert stopped.value.signal == number
    assert signal.getsignal(number) == before
    again, _ = trained(inputs, tmp_path / "told", job_description)
    assert weights == again


def test_several_signals_at_once_still_save_the_step(inputs, tmp_path, monkeypatch):
    """Slurm signals each process of a job, and Snakemake, one of them, its own job as well."""
    monkeypatch.setenv(INTERVAL, "3600")

    def tell():
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)

    at_step(monkeypatch, 2, tell)
    with pytest.raises(Stopped, match="the same command resumes from checkpoint-3") as stopped:
        trained(inputs, tmp_path / "told", description({}))
    assert stopped.value.signal == signal.SIGTERM


def test_a_second_ctrl_c_ends_the_training_immediately(inputs, tmp_path, monkeypatch):
    monkeypatch.setenv(INTERVAL, "3600")

    def press():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(APART + 0.1)
        os.kill(os.getpid(), signal.SIGINT)

    at_step(monkeypatch, 2, press)
    with pytest.raises(KeyboardInterrupt):
        trained(inputs, tmp_path / "told", description({}))
    assert not list(checkpoint_folder(tmp_path / "told").glob("checkpoint-*"))


@pytest.mark.parametrize("value", ["soon", "-1", "nan"])
def test_an_invalid_interval_is_one_line(inputs, tmp_path, monkeypatch, value):
    monkeypatch.setenv(INTERVAL, value)
    with pytest.raises(UserError, match=f"{INTERVAL} is '{value}'; give seconds, 0 or more"):
        trained(inputs, tmp_path / "tried", description({}))


def test_the_command_survives_sigkill_and_leaves_no_checkpoint_when_complete(inputs, tmp_path, capsys):
    """Only the training that is killed needs its own process; those before and after it run the command in this process."""
    job_description = description({"embedding_quantization": {"precisions": INT8}}, num_train_epochs=10)
    write_json(tmp_path / "config.json", job_description.model_dump())
    roles = [word for role, path in inputs.items() for word in ("--input", f"{role}={path}")]
    words = ["train", "--config", str(tmp_path / "config.json"), *roles, "--threads", "2", "--output"]
    assert main([*words, str(tmp_path / "uninterrupted")]) == 0
    process = subprocess.Popen([sys.executable, "-m", "qatlab", *words, str(tmp_path / "killed")])
    checkpoints = checkpoint_folder(tmp_path / "killed")
    until = time.monotonic() + 120
    while not list(checkpoints.glob("checkpoint-?*/complete.json")) and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    capsys.readouterr()
    assert main([*words, str(tmp_path / "killed")]) == 0
    assert "resuming from checkpoint-" in capsys.readouterr().err
    for name in ("model/model.safetensors", "log.csv"):
        assert sha256_of(tmp_path / "uninterrupted" / name) == sha256_of(tmp_path / "killed" / name)
    assert not checkpoints.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
