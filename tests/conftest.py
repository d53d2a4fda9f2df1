"""Fixtures: a tiny model, pairs and a retrieval task, all of them generated, so that no test needs a network."""

import fcntl
import gc
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
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

# Columns of scores.csv for an output with default scoring.
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


# Folders of tests by the duration of those that are not slow.
LONGEST_FIRST = ("workflow", "config", "plan", "stages", "losses", "tests", "quantization", "deployments")


@pytest.hookimpl(trylast=True)  # after pytest has deselected tests by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start the files that take longest first if several run in parallel, so that none of them is left to run alone.

    These are the files with the most seconds of the mark `slow`. Files without it are ordered by their folder.
    """
    if not hasattr(config, "workerinput"):
        return
    marks = {(item.path, node.nodeid): mark for item in items for node, mark in item.iter_markers_with_node("slow")}
    seconds: Counter[Path] = Counter()
    for (path, _), mark in marks.items():
        seconds[path] += mark.args[0]

    def order(item: pytest.Item) -> tuple[int, int]:
        folder = item.path.parent.name
        return -seconds[item.path], LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=order)


def pytest_collection(session: pytest.Session) -> None:
    """Disable garbage collection while test files import libraries: it frees almost nothing and takes a sixth of the time."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exempt imported libraries from garbage collection: each collection that a trainer starts would scan them for a second."""
    gc.freeze()
    gc.enable()
    gc.callbacks.append(FullCollections.measure)


class FullCollections:
    """Full garbage collections of this process, which scan every library that tests have imported, unless it is exempted again.

    Each training starts three of them, and statsmodels one per correction: they took a sixth of the time of tests that train.
    """

    SLOW = 0.03  # seconds

    started = 0.0
    are_slow = False
    file = ""

    @classmethod
    def measure(cls, phase: str, info: dict[str, int]) -> None:
        """Record whether a collection, which calls this when it starts and when it ends, is slow."""
        if phase == "start":
            cls.started = time.perf_counter()
        elif info["generation"] == 2:
            cls.are_slow = cls.are_slow or time.perf_counter() - cls.started > cls.SLOW


def pytest_runtest_logstart(nodeid: str, location: tuple[str, int | None, str]) -> None:
    """Exempt what is in memory before the first test of a file, and before the next test once collections have become slow."""
    if FullCollections.are_slow or FullCollections.file != location[0]:
        gc.collect()
        gc.freeze()
        FullCollections.are_slow = False
        FullCollections.file = location[0]


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that the first process of pytest-xdist that needs it makes for all processes.

    A test that changes a file copies the folder first.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    finished = folder.with_name(f"{name}.finished")
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            finished.touch()
    return folder


@pytest.fixture(scope="session")
def project() -> Path:
    """Return the folder of the project."""
    return PROJECT


@pytest.fixture(scope="session")
def pairs() -> list[tuple[str, str]]:
    """Return pairs of summary and code from a package of the standard library."""
    from qatlab.sources import packages

    functions = []
    for path in sorted((packages.package_root("stdlib") / "email").rglob("*.py")):
        functions += [(summary, code) for _, summary, code in packages._functions(path)]
    distinct = list({summary: (summary, code) for summary, code in functions}.values())
    assert len(distinct) > 120
    return distinct


def vocabulary(texts: list[str]) -> list[str]:
    """Return WordPiece entries: every character, and the most frequent words.

    A trained vocabulary would not be reproducible, because training breaks ties differently in every process.
    """
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
    """Return a Sentence Transformers folder with a 2-layer BERT: random weights, and a vocabulary of the words of the pairs."""
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
    """Return a folder with the tiny model exported to ONNX."""
    from qatlab.deployments.backends.onnx_export import export
    from qatlab.deployments.onnx import OnnxDeployment

    return made_once(
        tmp_path_factory, "tiny_onnx", lambda folder: export(tiny_model, folder, OnnxDeployment(backend="onnx"))
    )


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> Path:
    """Return a folder with training pairs in pairs.jsonl, and held-out pairs as task/ in BEIR layout."""
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
    """Return a data artifact with the first pairs."""
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
    """Return the inputs of a training, keyed by role: artifacts with the tiny model and the first pairs."""
    folder = tmp_path_factory.mktemp("inputs") / "model"
    folder.mkdir()
    (folder / "model").symlink_to(tiny_model)
    config = {"name": str(tiny_model), "revision": "main", "max_seq_length": 32, "num_hidden_layers": None}
    (folder / "config.json").write_text(json.dumps({"config": config}))
    (folder / "manifest.json").write_text(json.dumps({**config, "source": "local"}))
    return {"model": folder, "data": training_data}


@pytest.fixture
def plot_style() -> Iterator[None]:
    """Use the style of our plots, and close all plots at the end of a test."""
    from matplotlib import pyplot

    from qatlab.plots.plot import use_style

    use_style()
    yield
    pyplot.close("all")


@pytest.fixture
def model(tiny_model: Path) -> "SentenceTransformer":
    """Return the tiny model, loaded again for each test, so that a test may change it."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(tiny_model), device="cpu").eval()


@pytest.fixture
def texts(pairs: list[tuple[str, str]]) -> list[str]:
    """Return a few short texts."""
    return [summary for summary, _ in pairs[:16]]


@pytest.fixture(scope="session")
def tiny_decoder() -> "DecoderConfig":
    """Return the configuration of a tiny causal language model."""
    from qatlab.config.model import DecoderConfig

    return DecoderConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )


@pytest.fixture(scope="session")
def tiny_decoder_folder(tiny_decoder: "DecoderConfig", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tiny causal language model, whose random weights are scaled so that its predictions have no ties."""
    import torch
    from transformers import AutoModelForCausalLM

    from qatlab.models.causal_lm import make

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
    """Return a copy of the project with the study `tiny` and its results, with which other runs of the study are compared."""
    from checkouts import snakemake, tiny_study

    def run(folder: Path) -> None:
        result = snakemake(tiny_study(folder, tiny_model, tiny_files), "--cores", "2")
        assert result.returncode == 0, result.stdout

    return made_once(tmp_path_factory, "undisturbed", run)
