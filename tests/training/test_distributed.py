"""Two processes (gloo, on this processor) train what one does with the same global batch, by the very command that rules call."""

import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from qatlab.artifact import read_json, write_json
from qatlab.models.byte_decoder import make

TWO = {"distributed": {"processes": 2}}
INT8 = {"float32": {}, "int8": {}}
INT4 = {"name": "tried", "bits": 4, "group_size": 32}
METHODS = {
    "plain": {},
    "ste": {"embedding_quantization": {"precisions": {**INT8, "binary": {}}, "distillation": 0.5}},
    "cached_learned": {
        "loss": {"name": "cached_multiple_negatives_ranking", "mini_batch_size": 4},
        "embedding_quantization": {
            "precisions": {"float32": {}, "int8": {}},
            "ranges": {"kind": "learned"},
            "estimator": {"name": "lsq"},
            "learned_scales": ["int8"],
        },
    },
    "pr3655": {"embedding_quantization": {"precisions": INT8, "variant": "pr3655"}},
    "int4_adapters": {"lora": {"r": 4}, "weight_quantization": INT4},
    "int4_weights": {"weight_quantization": INT4},
    "onnx_weights": {
        "weight_quantization": {"name": "tried", "grid": "onnx_int8", "activations": "int8", "embeddings": True}
    },
}


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
def decoder(tiny_decoder, pairs, tmp_path_factory):
    """What a causal language model's training is made from: translations, whose lengths differ."""
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
    config = {"method": {"name": "tried", **method}, "trainer": {**sizes, **trainer}, "seed": 0}
    return {"name": "tried", "label": "tried", "config": json.loads(json.dumps(config))}


def causal(method, **trainer):
    told = description(method, batch_size=8, **trainer)
    told["config"] |= {"max_seq_length": 96, "prompt": "{source}>"}
    return told


def words(inputs, output, told, stage="train"):
    config = output.with_name(f"{output.name}.json")
    write_json(config, told)
    roles = [word for role, path in inputs.items() for word in ("--input", f"{role}={path}")]
    log = output.with_name(f"{output.name}.log")
    command = [sys.executable, "-m", "qatlab", stage, "--config", config, *roles, "--threads", "2", "--log", log]
    return [*command, "--output", output]


def trained(inputs, output, told, stage="train", **environment):
    """The weights, the log, and what a person sees."""
    result = subprocess.run(
        words(inputs, output, told, stage),
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stderr + output.with_name(f"{output.name}.log").read_text()
    return load_file(output / "model" / "model.safetensors"), pd.read_csv(output / "log.csv"), result.stderr


def assert_same(ours, theirs):
    (weights, log, _), (expected, expected_log, _) = ours, theirs
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-5, rtol=0, msg=name)
    pd.testing.assert_frame_equal(log, expected_log, check_exact=False, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_what_one_does(without_dropout, tmp_path, name):
    one = trained(without_dropout, tmp_path / "one", description(METHODS[name]))
    two = trained(without_dropout, tmp_path / "two", description(METHODS[name], **TWO))
    assert len(one[1]) == 5
    assert_same(two, one)
    cost = read_json(tmp_path / "two" / "cost.json")
    assert (cost["processes"], cost["nodes"]) == (2, 1)
    assert cost["device"].startswith("2 × cpu")
    assert two[2].count("train tried: 5 steps") == 1  # the first process speaks for both
