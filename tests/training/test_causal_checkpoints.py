"""Trainings of causal language models resume from checkpoints too; those with a time limit, from the elapsed time."""

import json
import shutil

import pandas as pd
import pytest

from killing import Killed, at_step, kill
from qatlab.artifact import sha256_of, write_json
from qatlab.job import JobDescription
from qatlab.models.causal_lm import make
from qatlab.stages import train
from qatlab.training.resumable import INTERVAL

pytestmark = pytest.mark.slow(25)

METHODS = {
    "plain": {},
    "late": {
        "weights": {"name": "int6", "bits": 6, "clip": {"kind": "percentile"}},
        "weights_start": {"weights": {"fraction": 0.5}},
    },
    "lora_int4": {
        "lora": {"r": 4, "lora_dropout": 0.1},
        "weights": {"name": "int4", "bits": 4, "group_size": 32},
    },
}


@pytest.fixture(scope="module")
def inputs(tiny_decoder, pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    make(tiny_decoder, 64, folder / "model" / "model")
    (folder / "data").mkdir()
    rows = pd.DataFrame({"text": [code for _, code in pairs[:60]]})
    rows.to_parquet(folder / "data" / "train.parquet")
    data = {"name": "text", "source": "local", "rows": len(rows), "columns": ["text"]}
    model = {"name": "tiny", "source": "made", "decoder": tiny_decoder.model_dump()}
    for name, values in {"data": data, "model": model}.items():
        write_json(folder / name / "config.json", {"config": values})
        write_json(folder / name / "manifest.json", values)
    return {"model": folder / "model", "data": folder / "data"}


@pytest.fixture(autouse=True)
def after_every_step(monkeypatch):
    monkeypatch.setenv(INTERVAL, "0")


def trained(inputs, output, method, **trainer):
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    config = {
        "method": {"name": "tried", **method},
        "trainer": {"batch_size": 8, "learning_rate": 3e-3, "precision": "fp32", **trainer},
        "seed": 0,
        "max_seq_length": 64,
        "prompt": "{source}>",
    }
    description = JobDescription(name="tried", label="tried", family="causal_lm", config=json.loads(json.dumps(config)))
    train.run(description, inputs, output, 2)
    return sha256_of(output / "model" / "model.safetensors"), pd.read_csv(output / "log.csv")


def killed_at(monkeypatch, step, *arguments, **trainer):
    at_step(monkeypatch, step, kill)
    with pytest.raises(Killed):
        trained(*arguments, **trainer)


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_training_ends_as_if_uninterrupted(inputs, tmp_path, monkeypatch, capsys, name):
    weights, log = trained(inputs, tmp_path / "uninterrupted", METHODS[name], max_steps=12)
    killed_at(monkeypatch, 5, inputs, tmp_path / "killed", METHODS[name], max_steps=12)
    again, log_again = trained(inputs, tmp_path / "killed", METHODS[name], max_steps=12)
    assert "resuming from checkpoint-5" in capsys.readouterr().err
    pd.testing.assert_frame_equal(log, log_again, check_exact=True)
    assert weights == again


def test_a_resumed_training_by_time_trains_only_the_remaining_time(inputs, tmp_path, monkeypatch):
    """The learning rate falls on from where it stood."""
    killed_at(monkeypatch, 20, inputs, tmp_path / "killed", {}, max_seconds=3, warmup_ratio=0.0)
    _, log = trained(inputs, tmp_path / "killed", {}, max_seconds=3, warmup_ratio=0.0)
    rates = log["learning_rate"]
    assert log["step"].tolist() == list(range(1, len(log) + 1))
    assert len(log) > 20
    assert rates.iloc[20] == pytest.approx(rates.iloc[19], rel=0.1)
    assert rates.is_monotonic_decreasing
