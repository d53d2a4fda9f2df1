"""A causal language model from training to its scores, for real, on a tiny one: every method, deployment and budget."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.stages import deploy, encode, score, train

pytestmark = pytest.mark.slow(18)

TRAINER = {"batch_size": 8, "learning_rate": 3e-3, "precision": "fp32", "max_steps": 12}
PROJECTIONS = r".*(q|k|v|o|gate|up|down)_proj"
METHODS = {
    "plain": {},
    "int8": {"weights": {"name": "int8"}},
    "int8_int4": {"weights": {"name": "int8_int4", "bits": 4, "group_size": 32, "activations": "int8"}},
    "late": {
        "weights": {"name": "int6", "bits": 6, "clip": {"kind": "percentile"}},
        "weights_start": {"weights": {"fraction": 0.5}},
    },
    "lora": {"lora": {"r": 4}},
    "lora_int4": {
        "lora": {"r": 4, "target_modules": PROJECTIONS},
        "weights": {"name": "int4", "bits": 4, "group_size": 32, "modules": PROJECTIONS},
    },
}
NUMBERS = {
    "one": "un", "two": "deux", "three": "trois", "four": "quatre", "five": "cinq", "six": "six", "seven": "sept", "eight": "huit",
    "nine": "neuf", "ten": "dix", "eleven": "onze", "twelve": "douze",
}  # fmt: skip
DEPLOYMENTS = {
    "torch_fp32": {},
    "torch_bf16": {"dtype": "bfloat16"},
    "torchao:int8": {"weights": METHODS["int8"]["weights"]},
    "torchao:int8_int4": {"weights": METHODS["int8_int4"]["weights"]},
}


@pytest.fixture(scope="module")
def inputs(tiny_decoder, pairs, tmp_path_factory):
    """The model, blocks of text to train on, and translations of a few words."""
    from qatlab.models.causal_lm import make

    folder = tmp_path_factory.mktemp("inputs")
    make(tiny_decoder, 64, folder / "model" / "model")
    tables = {
        "text": pd.DataFrame({"text": [code for _, code in pairs[:60]]}),
        "translation": pd.DataFrame({"source": [*NUMBERS] * 8, "target": [*NUMBERS.values()] * 8}),
    }
    about = {"model": {"name": "tiny", "source": "made", "decoder": tiny_decoder.model_dump()}}
    for name, table in tables.items():
        (folder / name).mkdir()
        table.to_parquet(folder / name / "train.parquet")
        about[name] = {"name": name, "source": "local", "rows": len(table), "columns": list(table.columns)}
    for name, values in about.items():
        (folder / name / "config.json").write_text(json.dumps({"config": values}))
        (folder / name / "manifest.json").write_text(json.dumps(values))
    return folder


def trained(inputs, output, method=None, data="text", **trainer):
    output.mkdir()
    config = {
        "method": {"name": "tried", **(method or {})},
        "trainer": {**TRAINER, **trainer},
        "seed": 0,
        "max_seq_length": 64,
        "prompt": "{source}>",
    }
    description = JobDescription(name="tried", label="tried", family="causal_lm", config=json.loads(json.dumps(config)))
    train.run(description, {"model": inputs / "model", "data": inputs / data}, output, 2)
    return pd.read_csv(output / "log.csv")


def deployed(trained_folder, output, **config):
    output.mkdir()
    config = {"backend": "torch", **config}
    (output / "config.json").write_text(json.dumps({"config": config}))
    deploy.run(JobDescription(label="tried", family="causal_lm", config=config), {"model": trained_folder}, output, 2)
    return output


def task(folder, kind, texts, references=None):
    folder.mkdir()
    ids = [f"{at:03}" for at in range(len(texts))]
    pd.DataFrame({"id": ids, "text": texts}).to_parquet(folder / "queries.parquet")
    pd.DataFrame({"id": ids, "text": references or texts}).to_parquet(folder / "documents.parquet")
    (folder / "manifest.json").write_text(json.dumps({"kind": kind}))
    return folder


def scored(deployment, task_folder, output):
    for name in ("encode", "score"):
        (output / name).mkdir(parents=True)
    config = {"predict": {"batch_size": 4, "max_new_tokens": 24}, "max_seq_length": 64, "prompt": "{source}>"}
    roles = {"deploy": deployment, "task": task_folder}
    encode.run(JobDescription(label="tried", family="causal_lm", config=config), roles, output / "encode", 2)
    roles = {"encode": output / "encode", "task": task_folder}
    score.run(JobDescription(label="tried", family="causal_lm", config={}), roles, output / "score", 2)
    return {row["metric"]: row for row in json.loads((output / "score" / "scores.json").read_text())["scores"]}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_leaves_a_plain_folder(inputs, tmp_path, method):
    log = trained(inputs, tmp_path / "out", METHODS[method])
    assert len(log) == 12
    assert log["loss"].iloc[-3:].mean() < log["loss"].iloc[:3].mean()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert type(model.model.layers[0].self_attn.q_proj) is torch.nn.Linear
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out" / "model")) == 258
    cost = json.loads((tmp_path / "out" / "cost.json").read_text())
    assert cost["steps"] == 12
    assert (cost["trained_parameters"] < model.num_parameters() / 2) == method.startswith("lora")
    card = ModelCard.load(tmp_path / "out" / "model" / "README.md")
    assert ("quantization-aware-training" in card.data.tags) == ("weights" in METHODS[method])
    assert "2 layers of 32 with random weights and one token per byte" in card.text
    assert str(tmp_path) not in card.text
    if method == "late":
        assert log["weights_quantized"].tolist() == [0.0] * 6 + [1.0] * 6


def test_training_for_a_grid_is_not_plain_training(inputs, tmp_path):
    losses = [trained(inputs, tmp_path / name, METHODS[name])["loss"].tolist() for name in ("plain", "int8_int4")]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_every_deployment_has_its_bits_per_byte(inputs, tmp_path, pairs, deployment):
    trained(inputs, tmp_path / "trained")
    folder = deployed(tmp_path / "trained", tmp_path / "deployed", **DEPLOYMENTS[deployment])
    texts = task(tmp_path / "task", "language_modelling", [code for _, code in pairs[60:70]])
    (row,) = scored(folder, texts, tmp_path / "scores").values()
    assert row["metric"] == "bits_per_byte"
    assert 2 < row["value"] < 7  # 8 bits are what a byte has; an untrained model takes about as many
    assert row["queries"] == 10
    parts = pd.read_parquet(tmp_path / "scores" / "score" / "per_query.parquet")["text/bits_per_byte"]
    assert parts.mean() == pytest.approx(row["value"])
    size = json.loads((folder / "cost.json").read_text())["bytes"]
    whole = json.loads((deployed(tmp_path / "trained", tmp_path / "whole") / "cost.json").read_text())["bytes"]
    assert (size < whole) == (deployment != "torch_fp32")


def test_what_torchao_ships_is_what_training_saw(inputs, tmp_path, pairs):
    """A forward pass with fake-quantized weights, and the deployed model, find texts equally likely."""
    from qatlab.config.weights import WeightsConfig
    from qatlab.families.causal_lm.encode import nats
    from qatlab.models.causal_lm import load_model, load_tokenizer
    from qatlab.weights.prepare import prepare

    trained(inputs, tmp_path / "trained", METHODS["int8_int4"])
    deployed(tmp_path / "trained", tmp_path / "deployed", **DEPLOYMENTS["torchao:int8_int4"])
    model = load_model(tmp_path / "trained" / "model")
    prepare(model, WeightsConfig.model_validate(DEPLOYMENTS["torchao:int8_int4"]["weights"]))
    texts = [code[:60] for _, code in pairs[:5]]  # one window, so that rows have the same scales
    simulated = nats(model, load_tokenizer(tmp_path / "trained" / "model"), texts, 64, 1)
    scores = scored(tmp_path / "deployed", task(tmp_path / "task", "language_modelling", texts), tmp_path / "scores")
    shipped = pd.read_parquet(tmp_path / "scores" / "encode" / "predictions.parquet")["nats"]
    assert shipped.tolist() == pytest.approx(simulated, rel=1e-4)
    assert scores["bits_per_byte"]["value"] > 0


def test_translations_are_learnt(inputs, tmp_path):
    trained(inputs, tmp_path / "trained", data="translation", max_steps=150, learning_rate=1e-2)
    deployment = deployed(tmp_path / "trained", tmp_path / "deployed")
    untrained = deployed(inputs / "model", tmp_path / "untrained")
    rows = pd.read_parquet(inputs / "translation" / "train.parquet").iloc[:12]
    translation_task = task(tmp_path / "task", "translation", rows["source"].tolist(), rows["target"].tolist())
    after, before = (
        scored(folder, translation_task, tmp_path / folder.name / "scores") for folder in (deployment, untrained)
    )
    assert after["chrf"]["value"] > before["chrf"]["value"] + 30
    assert set(after) == {"chrf", "bleu"}
    assert after["chrf"]["query_precision"] == "text"


def test_extra_steps_are_taken(inputs, tmp_path):
    assert len(trained(inputs, tmp_path / "out", {"extra_steps": 0.25})) == 15  # of 12
    whole = len(trained(inputs, tmp_path / "epoch", data="translation", max_steps=None))
    assert whole == 12  # of 96 rows in batches of 8
    longer = trained(inputs, tmp_path / "longer", {"extra_steps": 1.0}, data="translation", max_steps=None)
    assert len(longer) == 2 * whole


def test_the_clock_may_end_it(inputs, tmp_path):
    log = trained(inputs, tmp_path / "out", METHODS["late"], max_steps=None, max_seconds=2)
    cost = json.loads((tmp_path / "out" / "cost.json").read_text())
    assert 1.5 < cost["seconds"] < 6
    assert log["learning_rate"].iloc[-1] < log["learning_rate"].max() / 4
    # Half of the time is gone where fake quantizers begin: the rate, which follows the same clock, is then at .5 / .9 of its peak.
    begun = np.flatnonzero(log["weights_quantized"])[0]
    rates = log["learning_rate"] / TRAINER["learning_rate"]
    assert rates[begun - 1] > 0.45
    assert rates[begun] < 0.65


MISTAKES = [
    ({"trainer": {"batch_size": 4096}}, "trainer.batch_size=4096 is more than the"),
    ({"method": {"lora": {"r": 2, "target_modules": "lm_head"}}}, "matches no linear layer of the model"),
    ({"method": {"lora": {"r": 2, "target_modules": "query"}}}, "matches no linear layer of the model"),
    (
        {"method": {"weights": {"name": "x", "bits": 4, "group_size": 48}}},
        "group_size 48 does not divide the 32 inputs",
    ),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_mistakes_are_one_line(inputs, tmp_path, mistake, message):
    with pytest.raises(UserError, match=message):
        trained(inputs, tmp_path / "out", mistake.get("method"), **mistake.get("trainer", {}))


def test_another_tasks_predictions_are_refused(inputs, tmp_path):
    deployment = deployed(inputs / "model", tmp_path / "deployed")
    first, second = (task(tmp_path / f"task{n}", "language_modelling", ["abc"] * n) for n in (5, 6))
    scored(deployment, first, tmp_path / "scores")
    (tmp_path / "other").mkdir()
    roles = {"encode": tmp_path / "scores" / "encode", "task": second}
    with pytest.raises(UserError, match="predictions are not of this task's texts"):
        score.run(JobDescription(label="tried", family="causal_lm", config={}), roles, tmp_path / "other", 2)
