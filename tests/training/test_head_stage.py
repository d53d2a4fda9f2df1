"""The stage train with a head: its inputs, log and folder, and that it resumes, diverges and repeats like any training."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer

from killing import Killed, at_step, kill
from qatlab.artifact import checkpoint_folder, sha256_of
from qatlab.errors import Diverged, UserError
from qatlab.families.embedding.head import STATE, cached_embeddings
from qatlab.job import JobDescription
from qatlab.stages import encode, train
from qatlab.training.resumable import INTERVAL

HEAD = {"steps": 30, "evaluate_every": 10, "anchors": 8, "neighbours": 4, "learning_rate": 0.01, "patience": 100}


@pytest.fixture(scope="module")
def inputs(training_inputs, tmp_path_factory):
    """Add embeddings of pairs and of two tasks' documents; only the pairs' have queries that a head may read."""
    folder, random = tmp_path_factory.mktemp("embeddings"), np.random.default_rng(0)
    roles = {"pairs": 120, "corpus_b": 90, "corpus_a": 80}
    for role, rows in roles.items():
        (folder / role).mkdir()
        documents = (random.normal(size=(rows, 32)) * np.linspace(1, 0.1, 32)).astype(np.float32)
        np.save(folder / role / "documents.npy", documents)
        queries = documents + 0.05 * random.normal(size=documents.shape).astype(np.float32)
        np.save(folder / role / "queries.npy", queries if role == "pairs" else np.full((7, 32), np.nan))
    return {**training_inputs, **{role: folder / role for role in roles}}


def description(fitted_on, **options):
    head = {"fitted_on": fitted_on, **HEAD, **options}
    config = {"method": {"name": f"tried_{fitted_on}", "head": head}, "trainer": {"precision": "fp32"}, "seed": 0}
    return JobDescription(name="tried", label="tried", config=json.loads(json.dumps(config)))


def trained(inputs, output, fitted_on="both", **options):
    """Train on the inputs of which a head is fitted; return the log."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    left_out = {"pairs": "corpus_", "corpus": "pairs", "both": "-"}[fitted_on]
    roles = {role: path for role, path in inputs.items() if not role.startswith(left_out)}
    train.run(description(fitted_on, **options), roles, output, 2)
    return pd.read_csv(output / "log.csv")


def test_pairs_come_first_and_queries_of_tasks_are_not_read(inputs):
    documents, queries = cached_embeddings(inputs, 100)
    assert documents.shape == (100 + 80 + 90, 32)
    assert np.array_equal(queries, np.load(inputs["pairs"] / "queries.npy")[:100])
    assert np.array_equal(documents[100:180], np.load(inputs["corpus_a"] / "documents.npy"))
    corpus = {role: path for role, path in inputs.items() if role != "pairs"}
    assert cached_embeddings(corpus, 1000)[1] is None


@pytest.mark.parametrize("fitted_on", ["pairs", "corpus", "both"])
def test_the_folder_is_the_base_model_with_the_head_as_its_last_module(inputs, tmp_path, fitted_on):
    log = trained(inputs, tmp_path / "out", fitted_on, start={"kind": "overcomplete", "bits": 48})
    assert log["step"].tolist() == list(range(31))
    assert log["loss"].isna().tolist() == [True] + [False] * 30
    assert log["held_out_score"].notna().tolist() == [step % 10 == 0 for step in range(31)]
    assert log["contrastive"].notna().sum() == 30
    modules = json.loads((tmp_path / "out" / "model" / "modules.json").read_text())
    assert all(module["type"].startswith("sentence_transformers.") for module in modules)  # it loads without qatlab
    model, base = (SentenceTransformer(str(p / "model"), device="cpu") for p in (tmp_path / "out", inputs["model"]))
    matrix = model[-1].linear.weight.detach().numpy()
    assert matrix.shape == (48, 32)
    assert np.allclose(matrix.T @ matrix, np.eye(32), atol=1e-5)
    assert np.allclose(model.encode("def f(): pass"), matrix @ base.encode("def f(): pass"), atol=1e-5)
    cost = json.loads((tmp_path / "out" / "cost.json").read_text())
    assert cost["steps"] == 30
    card = ModelCard.load(tmp_path / "out" / "model" / "README.md")
    words = {
        "pairs": "the training pairs",
        "corpus": "the documents of all tasks of the study together",
        "both": "the training pairs and",
    }
    assert f"fitted on {words[fitted_on]}" in card.text
    assert any(tag.startswith("dataset_size") for tag in card.data.tags) == (fitted_on != "corpus")


def test_a_resumed_training_ends_as_if_uninterrupted(inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(INTERVAL, "0")
    log = trained(inputs, tmp_path / "uninterrupted")
    for step in (7, 16):
        at_step(monkeypatch, step, kill)
        with pytest.raises(Killed):
            trained(inputs, tmp_path / "killed")
    again = trained(inputs, tmp_path / "killed")
    messages = capsys.readouterr().err
    assert "resuming from checkpoint-7" in messages
    assert "resuming from checkpoint-16" in messages
    pd.testing.assert_frame_equal(log, again, check_exact=True)
    heads = [
        next((tmp_path / name / "model").glob("*_Dense/model.safetensors")) for name in ("uninterrupted", "killed")
    ]
    assert sha256_of(heads[0]) == sha256_of(heads[1])


def test_another_configuration_does_not_resume(inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(INTERVAL, "0")
    at_step(monkeypatch, 7, kill)
    with pytest.raises(Killed):
        trained(inputs, tmp_path / "killed")
    trained(inputs, tmp_path / "killed", neighbours=5)
    assert "checkpoint-7 is not used: it comes from other code, versions or data" in capsys.readouterr().err


def test_a_checkpoint_that_holds_more_than_tensors_is_refused(inputs, tmp_path, monkeypatch):
    monkeypatch.setenv(INTERVAL, "0")
    at_step(monkeypatch, 7, kill)
    with pytest.raises(Killed):
        trained(inputs, tmp_path / "killed")
    for checkpoint in checkpoint_folder(tmp_path / "killed").iterdir():
        torch.save(ModelCard, checkpoint / STATE)
        sealed = json.loads((checkpoint / "complete.json").read_text())
        sealed["files"][STATE] = sha256_of(checkpoint / STATE)
        (checkpoint / "complete.json").write_text(json.dumps(sealed))
    with pytest.raises(UserError, match="holds more than tensors"):
        trained(inputs, tmp_path / "killed")


def test_divergence_ends_with_its_step(inputs, tmp_path):
    with pytest.raises(Diverged, match=r"tried diverged at step \d+: .*; there is no earlier checkpoint"):
        trained(inputs, tmp_path / "out", temperature=1e39)


def test_too_few_documents_are_a_mistake_of_the_user(inputs, tmp_path):
    with pytest.raises(UserError, match="method 'tried_corpus': a head with 500 anchors"):
        trained(inputs, tmp_path / "out", "corpus", anchors=500)


def test_a_head_without_gain_is_reported(inputs, tmp_path, capsys):
    trained(inputs, tmp_path / "out", learning_rate=1e-12)
    assert "do not expect more of its bits" in capsys.readouterr().err


@pytest.mark.slow(4)
def test_both_sides_of_pairs_are_encoded_with_their_prompts(training_inputs, tiny_model, tmp_path):
    deployed, output = tmp_path / "deploy", tmp_path / "encode"
    deployed.mkdir()
    output.mkdir()
    (deployed / "model").symlink_to(tiny_model)
    (deployed / "config.json").write_text(json.dumps({"config": {"backend": "torch"}}))
    config = {"batch_size": 16, "threads": None, "rows": 5}
    inputs = {"deploy": deployed, "pairs": training_inputs["data"]}
    encode.run(JobDescription(label="tried", config=config), inputs, output, 2)
    rows = pd.read_parquet(training_inputs["data"] / "train.parquet")[:5]
    model = SentenceTransformer(str(tiny_model), device="cpu")
    for table, column in (("queries", 0), ("documents", 1)):
        assert np.allclose(np.load(output / f"{table}.npy"), model.encode(rows.iloc[:, column].tolist()), atol=1e-5)
