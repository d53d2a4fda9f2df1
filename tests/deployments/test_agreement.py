"""A deployment that computes something else than Sentence Transformers ends in one line with the likeliest reason."""

import shutil

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from qatlab.deployments.backends import agreement
from qatlab.deployments.onnx import OnnxDeployment
from qatlab.deployments.torch import TorchDeployment
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.models.embedding import load_model
from qatlab.stages import deploy
from qatlab.stages import model as model_stage

pytestmark = pytest.mark.slow(12)

ONNX = OnnxDeployment(backend="onnx")


@pytest.fixture(scope="module")
def source(tiny_model, tmp_path_factory):
    """The artifact of a base model."""
    folder = tmp_path_factory.mktemp("model") / "mine"
    folder.mkdir()
    config = {"name": str(tiny_model), "revision": "main", "max_seq_length": 24}
    model_stage.run(JobDescription(config=config, label="mine"), {}, folder, None)
    return folder


def deployed(folder, quantization, inputs):
    """Create the artifact of an ONNX deployment in a folder; return the folder."""
    folder.mkdir()
    config = {"backend": "onnx", "quantization": quantization}
    deploy.run(JobDescription(config=config, label="mine"), inputs, folder, 1)
    return folder


@pytest.fixture(scope="module")
def plain(source, tmp_path_factory):
    """Return the artifact of a deployment in float32."""
    return deployed(tmp_path_factory.mktemp("exported") / "plain", None, {"model": source})


@pytest.fixture(scope="module")
def exported(plain):
    return plain / "model"


def check(folder, source, deployment=ONNX):
    agreement.check_agreement(deployment.encoder(folder, 1), load_model(source / "model"), folder, "deploy mine")


def test_equal_embeddings_pass(source, exported):
    check(exported, source)
    check(source / "model", source, TorchDeployment(backend="torch"))


def test_other_tokens_are_named(source, exported, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    encoder = ONNX.encoder(folder, 1)
    encoder.tokens.tokenizer.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    with pytest.raises(
        UserError, match=r"deploy mine: .* differs from .* by 0\.\d+ .*tokens differ .*that end in .* against"
    ):
        agreement.check_agreement(encoder, load_model(source / "model"), folder, "deploy mine")


def test_padding_that_counts_is_named(source, exported):
    encoder = ONNX.encoder(exported, 1)
    feed = encoder.tokens.feed

    def unmasked(texts, names):
        tokens = feed(texts, names)
        return {**tokens, "attention_mask": np.ones_like(tokens["input_ids"])}

    encoder.tokens.feed = unmasked
    with pytest.raises(UserError, match=r"encoded in a batch, differs .*padding tokens influence its embeddings"):
        agreement.check_agreement(encoder, load_model(source / "model"), exported, "deploy mine")


def test_another_graph_is_named(source, exported, monkeypatch):
    encoder = ONNX.encoder(exported, 1)
    embed = encoder._embed
    monkeypatch.setattr(encoder, "_embed", lambda texts: embed(texts)[:, ::-1])
    with pytest.raises(UserError, match="the file computes something else"):
        agreement.check_agreement(encoder, load_model(source / "model"), exported, "deploy mine")
    monkeypatch.setattr(encoder, "_embed", lambda texts: embed(texts)[:, :8])
    with pytest.raises(UserError, match="embeddings have 8 dimensions, and Sentence Transformers' have 32"):
        agreement.check_agreement(encoder, load_model(source / "model"), exported, "deploy mine")


def test_prompts_that_are_left_out_are_named(source, tmp_path):
    encoder = TorchDeployment(backend="torch").encoder(source / "model", 1)
    model = load_model(source / "model")
    model.prompts = {"query": "query: ", "document": "passage: "}
    with pytest.raises(UserError, match="its prompts, or how pooling treats them"):
        agreement.check_agreement(encoder, model, source / "model", "encode mine")


def test_a_quantized_file_has_the_tokens_of_its_float_file(source, plain, tmp_path, capsys):
    int8 = deployed(tmp_path / "int8", {"mode": "IntegerOps"}, {"model": source, "float": plain})
    encoders = [ONNX.encoder(folder / "model", 1) for folder in (int8, plain)]
    agreement.check_quantized(*encoders, "deploy mine")
    assert "mean cosine similarity" not in capsys.readouterr().err
    embed = encoders[0]._embed
    encoders[0]._embed = lambda texts: embed(texts)[:, ::-1]
    agreement.check_quantized(*encoders, "deploy mine")
    assert "deploy mine: embeddings of 4 texts have a mean cosine similarity of" in capsys.readouterr().err
    encoders[0]._embed = lambda texts: embed(texts) * np.nan
    with pytest.raises(UserError, match="does not produce finite embeddings of 32 dimensions"):
        agreement.check_quantized(*encoders, "deploy mine")
    encoders[0].tokens.pad_to(40)
    with pytest.raises(UserError, match="its tokenizer is not that of the float file"):
        agreement.check_quantized(*encoders, "deploy mine")
