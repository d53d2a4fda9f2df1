"""Generated settings of tokenizers and modules: every deployment gives Sentence Transformers' embeddings, or is refused in one line.

Small encoders with random weights get files as people publish them: casing, end tokens and sides that stand in
tokenizer_config.json alone, prompts, pooling without the prompt, linear layers, dimensions cut off, half precision.
"""

import json
import shutil
from functools import cache

import numpy as np
import pytest
import torch
from effort import assert_one_line, fuzz
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

import miniatures
from qatlab.artifact import read_json, write_json
from qatlab.deployments.onnx import OnnxDeployment
from qatlab.deployments.torch import TorchDeployment
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.models.settings import prompt_for
from qatlab.stages import deploy
from qatlab.stages import model as model_stage

pytestmark = pytest.mark.slow(40)

ALLOWED = 1e-4  # of 1 − cosine similarity
TEXTS = [
    "Some Text",
    "a longer text, with MORE words than the model has room for: " * 4,
    "x",
    "é and ü",
    "def f(a):\n    return a",
]
ARCHITECTURES = ("bert", "roberta", "mpnet", "distilbert", "modernbert", "qwen3", "decoder")
TOKENIZER = st.fixed_dictionaries(
    {},
    optional={
        "padding_side": st.sampled_from(["left", "right"]),
        "truncation_side": st.sampled_from(["left", "right"]),
        "do_lower_case": st.booleans(),
        "add_eos_token": st.booleans(),
        "add_bos_token": st.booleans(),
        "model_max_length": st.sampled_from([8, 16, 10**30]),
        "clean_up_tokenization_spaces": st.booleans(),
    },
)
PROMPTS = st.sampled_from(
    [
        None,
        {},
        {"query": "query: ", "document": "passage: "},
        {"query": "ask: "},
        {"query": None, "passage": "p: "},
        {"query": "q: ", "passage": "p: ", "corpus": "c: "},
        {"document": ""},
    ]
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "prompts": PROMPTS,
        "default_prompt_name": st.sampled_from([None, "query"]),
        "truncate_dim": st.sampled_from([None, 8, 32]),
        "similarity_fn_name": st.sampled_from([None, "cosine", "dot", "euclidean"]),
    },
)
POOLING = st.fixed_dictionaries(
    {"pooling_mode": st.sampled_from(["mean", "cls", "max", "lasttoken", "weightedmean", ["mean", "cls"]])},
    optional={"include_prompt": st.booleans()},
)
TRANSFORMER = st.fixed_dictionaries({}, optional={"do_lower_case": st.booleans()})
TAIL = st.lists(st.sampled_from(["Dense", "Normalize"]), max_size=2)
DTYPE = st.sampled_from([torch.float32, torch.float32, torch.bfloat16, torch.float16])


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A function that returns a small encoder's folder by architecture; each is made once."""
    folder = tmp_path_factory.mktemp("originals")

    @cache
    def original(architecture):
        if architecture == "decoder":
            return miniatures.decoder_encoder(folder / architecture, "<pad>")
        return miniatures.encoder(folder / architecture, architecture)

    return original


def edited(original, folder, tokenizer, settings, pooling, transformer, tail, dtype):
    """A copy with other settings, as its files say them."""
    shutil.copytree(original, folder)
    for name, values in {
        "tokenizer_config.json": tokenizer,
        "config_sentence_transformers.json": settings,
        "sentence_bert_config.json": transformer,
        "1_Pooling/config.json": pooling,
    }.items():
        write_json(folder / name, {**read_json(folder / name), **values})
    width = 32 * (len(pooling["pooling_mode"]) if isinstance(pooling["pooling_mode"], list) else 1)
    modules = read_json(folder / "modules.json")[:2]
    for at, kind in enumerate(tail, start=2):
        modules.append(
            {"idx": at, "name": f"{at}", "path": f"{at}_{kind}", "type": f"sentence_transformers.models.{kind}"}
        )
        (folder / f"{at}_{kind}").mkdir(exist_ok=True)
        if kind == "Dense":
            shape = {
                "in_features": width,
                "out_features": 12,
                "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            }
            write_json(folder / f"{at}_{kind}" / "config.json", shape)
            generator = torch.Generator().manual_seed(at)
            weights = {"linear.weight": torch.randn(12, width, generator=generator), "linear.bias": torch.zeros(12)}
            save_file(weights, folder / f"{at}_{kind}" / "model.safetensors")
            width = 12
    write_json(folder / "modules.json", modules)
    if dtype != torch.float32:
        write_json(
            folder / "config.json", {**read_json(folder / "config.json"), "dtype": str(dtype).removeprefix("torch.")}
        )
    return folder


def reference(folder, tokens):
    """Sentence Transformers' own embeddings of queries and documents, or None where it cannot give any."""
    try:
        model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
        model.max_seq_length = tokens  # a study's own length holds, whatever the model's files say
        sides = {
            "queries": model.encode_query(TEXTS, convert_to_tensor=True).float().numpy(),
            "documents": model.encode_document(TEXTS, convert_to_tensor=True).float().numpy(),
        }
    except Exception:
        return None
    return sides if all(np.isfinite(side).all() for side in sides.values()) else None


@fuzz(3, shrink=False)
@given(
    architecture=st.sampled_from(ARCHITECTURES),
    tokenizer=TOKENIZER,
    settings=SETTINGS,
    pooling=POOLING,
    transformer=TRANSFORMER,
    tail=TAIL,
    dtype=DTYPE,
)
def test_deployments_give_sentence_transformers_embeddings(
    originals, architecture, tokenizer, settings, pooling, transformer, tail, dtype, tmp_path_factory
):
    place = tmp_path_factory.mktemp("m")
    source = edited(originals(architecture), place / "source", tokenizer, settings, pooling, transformer, tail, dtype)
    expected = reference(source, 24)
    try:
        config = {"name": str(source), "revision": "main", "max_seq_length": 24}
        (place / "model").mkdir()
        model_stage.run(JobDescription(config=config, label="tried"), {}, place / "model", None)
    except UserError as error:
        assert_one_line(error)
        return
    for deployment in (TorchDeployment(backend="torch"), OnnxDeployment(backend="onnx")):
        folder = place / deployment.backend
        folder.mkdir()
        try:
            description = JobDescription(config=json.loads(deployment.model_dump_json()), label="tried")
            deploy.run(description, {"model": place / "model"}, folder, 1)
            encoder = deployment.encoder(folder / "model", 1)
            by_side = {
                side: encoder.encode(TEXTS, len(TEXTS), prompt_for(folder / "model", side))
                for side in ("queries", "documents")
            }
        except UserError as error:
            assert_one_line(error)
            continue
        for side, embeddings in (
            by_side.items() if expected else ()
        ):  # with some settings, Sentence Transformers encodes nothing
            assert embeddings.shape == expected[side].shape
            squares = np.square(embeddings - expected[side]).sum(axis=1) / 2
            assert (squares <= ALLOWED * np.square(expected[side]).sum(axis=1)).all(), (deployment.backend, side)
