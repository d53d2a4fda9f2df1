"""Two processes (gloo, on the CPU) train the same as one with the same global batch, by the command that the rules run.

Rounding depends on the batch size and on the CPU. To keep it from deciding a result, AdamW's epsilon is so large that
gradients that consist of rounding errors (such as a key's bias) hardly change weights, and models whose embeddings are
quantized compute in float64, because their largest value lies exactly at the end of a grid.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import load_file

from qatlab import fork_server
from qatlab.artifact import checkpoint_folder, read_json, write_json
from qatlab.job import JobDescription
from qatlab.models.causal_lm import make
from qatlab.progress import read_mark
from qatlab.stages import train
from qatlab.training.resumable import INTERVAL

pytestmark = pytest.mark.slow(190)

TWO = {"distributed": {"processes": 2}}
INT8 = {"float32": {}, "int8": {}}
INT4 = {"name": "tried", "bits": 4, "group_size": 32}
METHODS = {
    "ste": {"embedding_quantization": {"precisions": {**INT8, "binary": {}}, "distillation": 0.5}},
    "cached_learned": {
        "loss": {"name": "cached_multiple_negatives_ranking", "mini_batch_size": 4},
        "embedding_quantization": {
            "precisions": INT8,
            "ranges": {"kind": "learned"},
            "estimator": {"name": "lsq"},
            "learned_scales": ["int8"],
        },
    },
    "int4_weights": {"weights": INT4},
    "onnx_weights": {"weights": {"name": "tried", "grid": "onnx_int8", "activations": "int8", "embeddings": True}},
}
# Torchao's symmetric grid ends just where a group's largest weight lies: the last digit of a sum decides whether it has a gradient.
STEPS = {"int4_weights": 2}  # the first has no learning rate yet: one update, from the very same weights


@pytest.fixture(scope="module", autouse=True)
def server():
    """Launchers and processes are forked from one that has imported PyTorch, as a workflow's are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(fork_server.ADDRESS, raising=False)
        patch.setattr(fork_server, "_started", None)
        fork_server.start()
        assert fork_server.ADDRESS in os.environ
        yield
        fork_server._started.stdin.close()


@pytest.fixture(scope="module")
def without_dropout(training_inputs, tmp_path_factory):
    """Each process draws its own dropout, so what is compared with one process has none."""
    folder = tmp_path_factory.mktemp("without_dropout") / "model"
    shutil.copytree(training_inputs["model"], folder)
    path = folder / "model" / "config.json"
    config = read_json(path)
    assert config["hidden_dropout_prob"] > 0
    write_json(path, {**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    return {**training_inputs, "model": folder}


@pytest.fixture(scope="module")
def in_doubles(without_dropout, tmp_path_factory):
    """A model whose own folder configures float64."""
    folder = tmp_path_factory.mktemp("in_doubles") / "model"
    shutil.copytree(without_dropout["model"], folder)
    path = folder / "model" / "sentence_bert_config.json"
    write_json(path, {**read_json(path), "model_kwargs": {"dtype": "float64"}})
    return {**without_dropout, "model": folder}


@pytest.fixture(scope="module")
def decoder(tiny_decoder, pairs, tmp_path_factory):
    """Inputs of the training of a causal language model: translations, whose lengths differ."""
    folder = tmp_path_factory.mktemp("decoder")
    make(tiny_decoder, 96, folder / "model" / "model")
    (folder / "data").mkdir()
    rows = pd.DataFrame({"source": [name for name, _ in pairs[:60]], "target": [code[:30] for _, code in pairs[:60]]})
    rows.to_parquet(folder / "data" / "train.parquet")
    data = {"name": "pairs", "source": "local", "rows": len(rows), "columns": ["source", "target"]}
    model = {"name": "tiny", "source": "made", "decoder": tiny_decoder.model_dump()}
    for name, values in {"data": data, "model": model}.items():
        write_json(folder / name / "config.json", {"config": values})
        write_json(folder / name / "manifest.json", values)
    return {"model": folder / "model", "data": folder / "data"}


def description(method, **trainer):
    sizes = {"batch_size": 16, "learning_rate": 1e-3, "precision": "fp32", "max_steps": 5, "num_train_epochs": 2}
    config = {"method": {"name": "tried", **method}, "trainer": {**sizes, "adam_epsilon": 1e-3, **trainer}, "seed": 0}
    return JobDescription(name="tried", label="tried", config=json.loads(json.dumps(config)))


def causal(method, **trainer):
    job_description = description(method, batch_size=8, **trainer)
    config = {**job_description.config, "max_seq_length": 96, "prompt": "{source}>"}
    return job_description.model_copy(update={"config": config, "family": "causal_lm"})


def words(inputs, output, job_description, stage="train"):
    config = output.with_name(f"{output.name}.json")
    write_json(config, job_description.model_dump())
    roles = [word for role, path in inputs.items() for word in ("--input", f"{role}={path}")]
    command = [sys.executable, "-m", "qatlab", stage, "--config", config, *roles, "--threads", "2"]
    return [*command, "--log", log_of(output), "--output", output]


def log_of(output):
    return output.with_name(f"{output.name}.log")


def started(inputs, output, job_description, stage="train", **environment):
    """The command as a rule calls it, running; its stderr is what a person sees."""
    values = {**os.environ, **environment}
    return subprocess.Popen(
        words(inputs, output, job_description, stage), stderr=subprocess.PIPE, text=True, env=values
    )


def ended(process):
    """The exit code, and what a person sees."""
    messages = process.communicate(timeout=240)[1]
    return process.returncode, messages


def result_of(output):
    return load_file(output / "model" / "model.safetensors"), pd.read_csv(output / "log.csv")


def in_two(inputs, output, job_description, stage="train"):
    """The weights and the log, and what a person sees."""
    code, messages = ended(started(inputs, output, job_description, stage))
    assert code == 0, messages + log_of(output).read_text()
    return result_of(output), messages


def in_one(inputs, output, job_description, stage=train):
    """In this very process."""
    output.mkdir()
    stage.run(job_description, inputs, output, 1)
    return result_of(output)


def assert_same(ours, theirs):
    (weights, log), (expected, expected_log) = ours, theirs
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-5, rtol=0, msg=name)
    changed = [
        name for name in log if name.startswith("changed_")
    ]  # a value on the grid by chance is changed by a last digit
    pd.testing.assert_frame_equal(log[changed], expected_log[changed], atol=0.01, rtol=0)
    rest = log.columns.difference(changed)
    pd.testing.assert_frame_equal(log[rest], expected_log[rest], atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_to_the_weights_of_one(without_dropout, in_doubles, tmp_path, name):
    quantized = "embedding_quantization" in METHODS[name]
    inputs = in_doubles if quantized else without_dropout
    steps = {"max_steps": STEPS.get(name, 5)}
    one = in_one(inputs, tmp_path / "one", description(METHODS[name], **steps))
    two, messages = in_two(inputs, tmp_path / "two", description(METHODS[name], **steps, **TWO))
    assert len(one[1]) == steps["max_steps"]
    assert {tensor.dtype for tensor in one[0].values()} == {torch.float64 if quantized else torch.float32}
    assert_same(two, one)
    cost = read_json(tmp_path / "two" / "cost.json")
    assert (cost["processes"], cost["nodes"]) == (2, 1)
    assert cost["device"].startswith("2 × cpu")
    assert (
        messages.count("train tried: ") == messages.count("\n") - messages.count("layers") > 1
    )  # only the first process prints messages


def test_a_causal_language_model_too(decoder, tmp_path):
    """Tokens of the two parts differ in number, and count alike all the same; gradients are accumulated besides."""
    sizes = {"gradient_accumulation_steps": 2}
    one = in_one(decoder, tmp_path / "one", causal({}, **sizes), train)
    two, _ = in_two(decoder, tmp_path / "two", causal({}, **sizes, **TWO), "train")
    assert len(one[1]) == 5
    assert_same(two, one)


def test_two_nodes_are_two_launchers(without_dropout, tmp_path):
    """Each receives its rank; only the first one writes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    job_description = description({}, distributed={"processes": 1, "nodes": 2})
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    place[fork_server.ADDRESS] = ""  # and processes that nobody forks
    nodes = [
        started(without_dropout, tmp_path / "two", job_description, NODE_RANK=str(rank), **place) for rank in range(2)
    ]
    (first, messages), (second, silence) = map(ended, nodes)
    assert (first, second) == (0, 0), messages + silence
    one = in_one(without_dropout, tmp_path / "one", description({}))
    assert_same(result_of(tmp_path / "two"), one)
    assert (messages.count("train tried: 5 steps"), silence) == (1, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two", "two.json", "two.log", "two.node-1.log"]


def test_a_signal_saves_and_the_next_run_reaches_the_weights_of_an_uninterrupted_one(training_inputs, tmp_path):
    """With dropout, whose random state is each process's own; ended in the second epoch, of another order."""
    job_description = description(METHODS["ste"], max_steps=None, num_train_epochs=5, **TWO)
    unbroken, _ = in_two(training_inputs, tmp_path / "uninterrupted", job_description)
    process = started(training_inputs, tmp_path / "told", job_description, **{INTERVAL: "0"})
    sixth = checkpoint_folder(tmp_path / "told") / "checkpoint-6"
    while not sixth.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)  # as Snakemake sends it, when Slurm signals both
    code, messages = ended(process)
    assert code == 128 + signal.SIGTERM, messages
    assert re.search(r"train tried stopped at step (\d+); the same command resumes from checkpoint-\1\n$", messages), (
        messages
    )
    assert not (tmp_path / "told").exists()
    again, messages = in_two(training_inputs, tmp_path / "told", job_description)
    assert "resuming from checkpoint-" in messages
    for name, tensor in unbroken[0].items():
        assert torch.equal(again[0][name], tensor), name
    pd.testing.assert_frame_equal(again[1], unbroken[1], check_exact=True)
    assert not checkpoint_folder(tmp_path / "told").exists()


def test_a_processs_mistake_is_one_line(training_inputs, tmp_path):
    job_description = description({}, batch_size=128, **TWO)
    code, messages = ended(started(training_inputs, tmp_path / "out", job_description))
    reason = "trainer.batch_size=128 is more than the 64 training rows; lower it or raise data.rows"
    assert (code, messages) == (2, f"train tried failed: {reason} (log: {log_of(tmp_path / 'out')})\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.failed.json", "out.json", "out.log"]
    assert read_mark(tmp_path / "out").reason == reason


def running(training_inputs, tmp_path, forked):
    """A training whose steps have begun, and its two processes that train."""
    environment = {} if forked else {fork_server.ADDRESS: ""}
    job_description = description({}, max_steps=100_000, **TWO)
    process = started(training_inputs, tmp_path / "out", job_description, **environment)
    for line in process.stderr:
        if "step " in line:
            break
    # The server has forked the launcher first.
    server = psutil.Process(fork_server._started.pid)
    workers = (
        sorted(server.children(), key=psutil.Process.create_time)[1:]
        if forked
        else psutil.Process(process.pid).children()
    )
    assert len(workers) == 2
    return process, workers


@pytest.mark.parametrize("forked", [True, False])
def test_a_process_that_is_killed_ends_the_training(training_inputs, tmp_path, forked):
    process, workers = running(training_inputs, tmp_path, forked)
    workers[1].kill()
    began = time.monotonic()
    code, messages = ended(process)
    assert time.monotonic() - began < 30
    assert code == 2
    last = messages.splitlines()[-1]
    assert re.search(
        r"failed: process \d of 2 was ended by SIGKILL from outside; unless someone did it, memory was exhausted", last
    )


@pytest.mark.parametrize("forked", [True, False])
def test_no_process_outlives_its_launcher(training_inputs, tmp_path, forked):
    process, workers = running(training_inputs, tmp_path, forked)
    process.kill()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
