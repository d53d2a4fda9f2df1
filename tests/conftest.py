"""A tiny real model, pairs and a retrieval task, made on the spot: no test needs a network."""

import fcntl
import gc
import json
import os
import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from qatlab.config.model import DecoderConfig

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

VOCABULARY = 800
PROJECT = Path(__file__).resolve().parent.parent

# What scores.csv says of an output that is compared in the usual way.
AS_IT_IS = {
    "scoring": "dot",
    "ranges": "none",
    "rescoring": "none",
    "dimensions": None,
    "index": "flat",
    "fitted_on": "none",
}

needs_optimum = pytest.mark.skipif(
    find_spec("optimum") is None, reason="needs optimum-onnx, which keeps transformers below 5: make test-oldest has it"
)


LONGEST_FIRST = ("workflow", "training", "stages", "builders", "bench", "losses")  # folders


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Beside one another, files of long tests begin first: the last one would run alone."""
    if hasattr(config, "workerinput"):
        items.sort(
            key=lambda item: LONGEST_FIRST.index(part) if (part := item.path.parent.name) in LONGEST_FIRST else 9
        )


def pytest_collection(session: pytest.Session) -> None:
    """Collect no garbage while test files import libraries: it would free next to nothing, and takes a sixth of the time."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exempt imported libraries from garbage collection: each collection that a trainer requests would scan them for a second."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def project() -> Path:
    return PROJECT


@pytest.fixture(scope="session")
def pairs() -> list[tuple[str, str]]:
    """(summary, code) pairs of a package of the standard library."""
    from qatlab.data import docstrings

    found = []
    for path in sorted((docstrings.package_root("stdlib") / "email").rglob("*.py")):
        found += [(summary, code) for _, summary, code in docstrings._functions(path)]
    distinct = list({summary: (summary, code) for summary, code in found}.values())
    assert len(distinct) > 120
    return distinct


def vocabulary(texts: list[str]) -> list[str]:
    """WordPiece entries: every character, and the most frequent words. Training one breaks ties anew in every process."""
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalize, split = BertNormalizer(lowercase=True), BertPreTokenizer()
    words = Counter(word for text in texts for word, _ in split.pre_tokenize_str(normalize.normalize_str(text)))
    characters = sorted({character for word in words for character in word})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    entries = [*special, *characters, *(f"##{character}" for character in characters)]
    frequent = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    return [*entries, *frequent][:VOCABULARY]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> Path:
    """A 2-layer BERT with random weights and a vocabulary of the pairs' words, as a Sentence Transformers folder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    (folder / "vocab.txt").write_text("\n".join(vocabulary([text for pair in pairs for text in pair])) + "\n")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    bert = folder / "bert"
    BertModel(config).save_pretrained(bert, safe_serialization=True)
    tokenizer.save_pretrained(bert)
    transformer = Transformer(str(bert), max_seq_length=32)
    target = folder / "model"
    modules = [transformer, Pooling(32, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(target), create_model_card=False)
    return target


@pytest.fixture(scope="session")
def tiny_onnx(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model exported to ONNX; what changes a file copies the folder first."""
    from qatlab.deployments.builders.onnx_export import export
    from qatlab.deployments.onnx import OnnxDeployment

    folder = tmp_path_factory.mktemp("tiny_onnx") / "model"
    export(tiny_model, folder, OnnxDeployment(backend="onnx"))
    return folder


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> Path:
    """pairs.jsonl to train on, and task/ in BEIR layout of other pairs."""
    folder = tmp_path_factory.mktemp("files")
    with (folder / "pairs.jsonl").open("w") as stream:
        for summary, code in pairs[:80]:
            stream.write(json.dumps({"anchor": summary, "positive": code}) + "\n")
    (folder / "task" / "qrels").mkdir(parents=True)
    held_out = pairs[80:120]
    with (folder / "task" / "corpus.jsonl").open("w") as stream:
        stream.writelines(
            json.dumps({"_id": f"d{i}", "title": "", "text": code}) + "\n" for i, (_, code) in enumerate(held_out)
        )
    with (folder / "task" / "queries.jsonl").open("w") as stream:
        stream.writelines(
            json.dumps({"_id": f"q{i}", "text": summary}) + "\n" for i, (summary, _) in enumerate(held_out)
        )
    rows = "".join(f"q{i}\td{i}\t1\n" for i in range(len(held_out)))
    (folder / "task" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return folder


@pytest.fixture(scope="session")
def training_data(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> Path:
    """A data artifact of the first pairs."""
    import pandas as pd

    folder = tmp_path_factory.mktemp("data")
    columns = ["anchor", "positive"]
    pd.DataFrame(pairs[:64], columns=columns).to_parquet(folder / "train.parquet")
    config = {"source": "local", "name": "pairs", "path": str(folder / "pairs.jsonl")}
    manifest = {"source": "local", "name": "pairs", "rows": 64, "columns": columns}
    (folder / "config.json").write_text(json.dumps({"config": config}))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def training_inputs(tiny_model: Path, training_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a training is made from, by role: artifacts of the tiny model and of the first pairs."""
    folder = tmp_path_factory.mktemp("inputs") / "model"
    folder.mkdir()
    (folder / "model").symlink_to(tiny_model)
    config = {"name": str(tiny_model), "revision": "main", "max_seq_length": 32, "num_hidden_layers": None}
    (folder / "config.json").write_text(json.dumps({"config": config}))
    (folder / "manifest.json").write_text(json.dumps({**config, "source": "local"}))
    return {"model": folder, "data": training_data}


@pytest.fixture
def model(tiny_model: Path) -> "SentenceTransformer":
    """The tiny model, loaded afresh: a test may change it."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(tiny_model), device="cpu").eval()


@pytest.fixture
def texts(pairs: list[tuple[str, str]]) -> list[str]:
    """A few short texts."""
    return [summary for summary, _ in pairs[:16]]


@pytest.fixture(scope="session")
def tiny_decoder() -> "DecoderConfig":
    """Of a causal language model that is made in no time."""
    from qatlab.config.model import DecoderConfig

    return DecoderConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )


@pytest.fixture(scope="session")
def tiny_decoder_folder(tiny_decoder: "DecoderConfig", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with random weights that are far enough apart for its likeliest tokens to be clear."""
    import torch
    from transformers import AutoModelForCausalLM

    from qatlab.models.byte_decoder import make

    folder = tmp_path_factory.mktemp("decoder")
    make(tiny_decoder, 256, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(8)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(tiny_model: Path, tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the small study `tiny` and its results, which other runs of it are compared with.

    The first process of pytest-xdist that needs it makes it for all of them. It is not changed.
    """
    from checkouts import snakemake, tiny_study

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "undisturbed"
    finished = folder.with_name("undisturbed.finished")
    with folder.with_name("undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            result = snakemake(tiny_study(folder, tiny_model, tiny_files, "[baseline]"), "--cores", "2")
            assert result.returncode == 0, result.stdout
            finished.touch()
    return folder
