"""A static model: the mean of its tokens' vectors, how it begins, is trained and is saved, and what the plan refuses."""

import json

import numpy as np
import pandas as pd
import pytest
from sentence_transformers import SentenceTransformer

from conftest import PROJECT
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.plan.checks import check_layers, check_models
from qatlab.plan.plan import load_study
from qatlab.stages import model as stage
from qatlab.stages import train

TOKENS = 6


def static_artifact(source, output, **more):
    output.mkdir()
    config = {"name": str(source), "kind": "static", "max_seq_length": TOKENS, **more}
    stage.run(JobDescription(config=config), {}, output, None)
    return output


def test_a_text_is_the_mean_of_the_input_embeddings_of_its_first_tokens(tiny_model, tmp_path, texts):
    base = SentenceTransformer(str(tiny_model), device="cpu")
    vectors = base[0].auto_model.get_input_embeddings().weight.detach().numpy()
    ids = [base.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert max(map(len, ids)) > TOKENS
    means = np.stack([vectors[row[:TOKENS]].mean(axis=0) for row in ids])
    for normalize, expected in ((None, means / np.linalg.norm(means, axis=1, keepdims=True)), (False, means)):
        folder = static_artifact(tiny_model, tmp_path / str(normalize), normalize=normalize) / "model"
        assert np.allclose(SentenceTransformer(str(folder), device="cpu").encode(texts), expected, atol=1e-6)


def test_it_is_trained_and_loads_without_qatlab(tiny_model, training_inputs, tmp_path):
    """Also in groups of similar length, which a model without padding does not need."""
    base, output = static_artifact(tiny_model, tmp_path / "base"), tmp_path / "out"
    model = {"name": str(tiny_model), "kind": "static", "max_seq_length": TOKENS, "num_hidden_layers": None}
    (base / "config.json").write_text(json.dumps({"config": {**model, "normalize": None}}))
    output.mkdir()
    quantized = {"precisions": {"float32": {}, "binary": {}}}
    trainer = {"max_steps": 30, "batch_size": 16, "learning_rate": 0.02, "precision": "fp32", "length_groups": 4}
    config = {"method": {"name": "tried", "embedding_quantization": quantized}, "trainer": trainer, "seed": 0}
    description = JobDescription(name="tried", label="tried", config=json.loads(json.dumps(config)))
    train.run(description, {**training_inputs, "model": base}, output, 2)
    losses = pd.read_csv(output / "log.csv")["loss"]
    assert losses[-5:].mean() < 0.8 * losses[:5].mean()
    assert "one vector per token, begun from the input embeddings of" in (output / "model" / "README.md").read_text()
    modules = json.loads((output / "model" / "modules.json").read_text())
    assert all(module["type"].startswith("sentence_transformers.") for module in modules)
    assert SentenceTransformer(str(output / "model"), device="cpu").encode("a").shape == (32,)


def test_vectors_are_those_of_a_transformer(tiny_model, tmp_path):
    static = static_artifact(tiny_model, tmp_path / "static") / "model"
    with pytest.raises(UserError, match=r"begins with StaticEmbedding; .* or set model.kind=embedding"):
        static_artifact(static, tmp_path / "again")


def test_what_needs_layers_is_refused_before_the_first_job(tiny_model, tmp_path):
    fixed = ["model.kind=static", f"model.name={tiny_model}", "study.decomposition=[]"]

    def plan(*overrides):
        return load_study(PROJECT / "conf", "quickstart", overrides=[*fixed, *overrides])

    plain = plan("study.matrix.method=[untrained,baseline]", "deploy=[torch_fp32]", "model.max_seq_length=4096")
    check_models(plain, tmp_path)
    check_layers(plain, tmp_path)
    (model,) = (path for path, artifact in plain.artifacts.items() if artifact.kind == "model")
    assert model.startswith("model/model-static-")
    with pytest.raises(UserError, match="begins with StaticEmbedding; leave its deployments out: onnx_int8"):
        check_models(plan("study.matrix.method=[untrained]", "deploy=[torch_fp32,onnx_int8]"), tmp_path)
    with pytest.raises(UserError, match=r"quantizes nothing: .* matches no layer"):
        check_layers(plan("study.matrix.method=[untrained,baseline,baseline:int4]", "deploy=[torch_fp32]"), tmp_path)
