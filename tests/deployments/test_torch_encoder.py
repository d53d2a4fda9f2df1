"""Encoding in PyTorch is what Sentence Transformers' own encode_query and encode_document give."""

import json
import shutil

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from qatlab.deployments.torch import TorchDeployment, TorchEncoder
from qatlab.models.settings import prompt_for

PROMPTS = {"query": "Represent the question: ", "document": "Represent the document: "}


def folder_with(tiny_model, target, prompts, include_prompt):
    shutil.copytree(tiny_model, target)
    settings = target / "config_sentence_transformers.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "prompts": prompts}))
    (pooling,) = target.glob("*_Pooling/config.json")
    pooling.write_text(json.dumps({**json.loads(pooling.read_text()), "include_prompt": include_prompt}))
    return target


def ours(folder, texts, side):
    return TorchEncoder(folder, 1, TorchDeployment(backend="torch")).encode(texts, 4, prompt_for(folder, side))


@pytest.mark.parametrize("include_prompt", [True, False])
def test_prompts_are_pooled_or_excluded_as_the_model_configures(tiny_model, tmp_path, texts, include_prompt):
    folder = folder_with(tiny_model, tmp_path / "model", PROMPTS, include_prompt)
    model = SentenceTransformer(str(folder), device="cpu")
    assert np.abs(ours(folder, texts, "queries") - model.encode_query(texts)).max() < 1e-6
    assert np.abs(ours(folder, texts, "documents") - model.encode_document(texts)).max() < 1e-6
    together = model.encode([PROMPTS["query"] + text for text in texts])
    assert (np.abs(ours(folder, texts, "queries") - together).max() < 1e-6) == include_prompt


@pytest.mark.parametrize(
    "prompts",
    [
        {"query": "q: ", "passage": "p: "},
        {"query": "q: ", "corpus": "c: "},
        {"passage": "p: ", "document": None},
        {"passage": "p: "},
        {"default": "d: "},
        {},
    ],
)
def test_prompts_are_those_that_sentence_transformers_applies(tiny_model, tmp_path, texts, prompts):
    """Including where encode_document does not apply a prompt that is called passage."""
    folder = folder_with(tiny_model, tmp_path / "model", prompts, True)
    settings = folder / "config_sentence_transformers.json"
    settings.write_text(
        json.dumps({**json.loads(settings.read_text()), "default_prompt_name": next(iter(prompts), None)})
    )
    model = SentenceTransformer(str(folder), device="cpu")
    assert np.abs(ours(folder, texts, "queries") - model.encode_query(texts)).max() < 1e-6
    assert np.abs(ours(folder, texts, "documents") - model.encode_document(texts)).max() < 1e-6
    assert np.abs(ours(folder, texts, "pairs") - model.encode(texts)).max() < 1e-6


def test_null_means_no_prompt(tiny_model, tmp_path, texts):
    folder = folder_with(tiny_model, tmp_path / "model", {"query": None, "document": ""}, True)
    expected = SentenceTransformer(str(tiny_model), device="cpu").encode(texts)
    for side in ("queries", "documents"):
        assert prompt_for(folder, side) == ""
        assert np.abs(ours(folder, texts, side) - expected).max() < 1e-6
