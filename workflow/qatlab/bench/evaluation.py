"""Benchmarks of evaluation: encoding and scoring a task, against Sentence Transformers; memory and start of the stage `score`."""

import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from qatlab.artifact import write_json
from qatlab.bench.run import Row, in_turns
from qatlab.evaluation.task import MANIFEST
from qatlab.machine.hardware import SATURATING, features, integer_kernel

# Benchmark of the default precision grid of a task, including encoding, with Sentence Transformers' evaluator as the reference.
#
# It runs the stages `encode` and `score` as in a study (`qatlab.stages.encode.run`, `qatlab.stages.score.run`), on real folders: the
# model is loaded, embeddings are written and read again, and every output of the default configuration is scored. The evaluator
# receives a model that is already loaded. Both truncate texts at the same length, and use batches of the same size.

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGES = ("stdlib", "numpy", "scipy", "networkx")
DOCUMENTS, QUERIES, TOKENS, BATCH, PAIRS = 5000, 500, 32, 32, 2
WARM_UP = 100  # number of documents in the first evaluations, which are not measured
PRECISIONS = ["float32", "int8", "binary"]
BENCH_METRICS = ["ndcg@10", "mrr@10", "recall@10", "recall@100", "accuracy@1"]
Texts = dict[str, str]  # by id


def measure_evaluation(
    documents: int = DOCUMENTS, queries: int = QUERIES, pairs: int = PAIRS, model_name: str = MODEL
) -> Iterator[Row]:
    """Measure the time from texts to metrics at all precisions, over one evaluation in float32 and over one per precision.

    Args:
        documents: number of documents.
        queries: number of queries.
        pairs: number of measurements, of which the median is taken.
        model_name: id of the model on the hub.
    """
    from qatlab.models.embedding import load_model

    with tempfile.TemporaryDirectory() as name:
        deployed = _deploy(Path(name), model_name)
        model = load_model(deployed / "model")
        # A few texts are encoded first, because the first call includes the costs of threads, memory and imports.
        warm_up = _task(min(WARM_UP, documents), min(WARM_UP, queries))
        _encode_and_score(deployed, _write_task(warm_up, Path(name) / "warm_up"), Path(name) / "of_warm_up")
        for precision in PRECISIONS:
            evaluate(model, warm_up, precision)
        task = _task(documents, queries)
        ours = partial(_encode_and_score, deployed, _write_task(task, Path(name) / "task"), Path(name) / "of_task")
        seconds = _medians({"ours": ours} | {p: partial(evaluate, model, task, p) for p in PRECISIONS}, pairs)
        size = f"{documents:,} documents, {queries} queries, {TOKENS} tokens, {Path(model_name).name}"
        reference = f"one InformationRetrievalEvaluator in float32, {size}"
        yield Row("evaluation_grid_time", seconds["ours"], seconds["float32"], 1.10, "s", reference)
        reference = f"the same evaluator once for each of {', '.join(PRECISIONS)}"
        each = sum(seconds[precision] for precision in PRECISIONS)
        yield Row("evaluation_grid_time_each", seconds["ours"], each, None, "s", reference)


def evaluate(model: Any, task: tuple[Texts, Texts], precision: str = "float32") -> dict[str, float]:
    """Return the evaluator's metrics for embeddings that the model encodes with `encode(…, precision=…)`.

    Args:
        model: a SentenceTransformer.
        task: documents by id, and queries by the id of their relevant document.
        precision: float32, int8 or binary.
    """
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    class AtPrecision(InformationRetrievalEvaluator):
        def embed_inputs(self, *arguments: Any, **options: Any) -> Any:
            if precision == "float32":
                return super().embed_inputs(*arguments, **options)
            return _floats(super().embed_inputs(*arguments, precision=precision, **options), precision)

    documents, queries = task
    relevant = {identifier: {identifier} for identifier in queries}
    metrics: dict[str, float] = AtPrecision(queries, documents, relevant, batch_size=BATCH, write_csv=False)(model)
    return metrics


def _medians(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each call; calls alternate, in reverse order every second round."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls)[:: 1 if number % 2 == 0 else -1]:
            began = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _floats(codes: Any, precision: str) -> Any:
    """Return embeddings that the evaluator's cosine similarity can compare: codes as floats, bits as −1 and +1."""
    import torch

    array = np.asarray(codes)
    if precision == "binary":
        array = np.unpackbits(array.view(np.uint8) ^ np.uint8(128), axis=1).astype(np.float32) * 2 - 1
    return torch.from_numpy(array.astype(np.float32))


def _task(documents: int, queries: int) -> tuple[Texts, Texts]:
    """Return functions of installed packages as documents, and the docstring summaries of some as queries."""
    import random

    from qatlab.sources.packages import extract

    pairs = [pair for package in PACKAGES for pair in extract(package)]
    random.Random(0).shuffle(pairs)
    pairs = pairs[:documents]
    if len(pairs) < documents:
        raise ValueError(f"{', '.join(PACKAGES)} have {len(pairs)} functions with docstrings, not {documents}")
    return {pair.id: pair.code for pair in pairs}, {pair.id: pair.summary for pair in pairs[:queries]}


def _write_task(task: tuple[Texts, Texts], folder: Path) -> Path:
    """Write a task as the stages read it, and return its folder."""
    import pandas as pd

    folder.mkdir()
    for name, texts in zip(("documents", "queries"), task, strict=True):
        pd.DataFrame({"id": texts.keys(), "text": texts.values()}).to_parquet(folder / f"{name}.parquet")
    judgements = {"query_id": list(task[1]), "doc_id": list(task[1]), "relevance": 1}
    pd.DataFrame(judgements).to_parquet(folder / "qrels.parquet")
    write_json(folder / MANIFEST, {"kind": "retrieval"})
    return folder


def _deploy(folder: Path, name: str) -> Path:
    """Write the model with a maximum length of TOKENS as the deployment torch_fp32, and return its folder."""
    from qatlab.artifact import write_json
    from qatlab.job import JobDescription
    from qatlab.stages import model

    model.run(JobDescription(config={"name": name, "max_seq_length": TOKENS}), {}, folder, None)
    write_json(folder / "config.json", {"config": {"backend": "torch"}})
    return folder


def _encode_and_score(deployed: Path, task: Path, output: Path) -> None:
    from qatlab.job import JobDescription
    from qatlab.stages import encode, score

    encoded, scored = output / "encode", output / "score"
    for folder in (encoded, scored):
        folder.mkdir(parents=True, exist_ok=True)
    description = JobDescription(label="of the benchmark", config={"batch_size": BATCH})
    encode.run(description, {"deploy": deployed, "task": task}, encoded, None)
    config = {"metrics": BENCH_METRICS, "precisions": PRECISIONS}
    description = JobDescription(label="of the benchmark", config=config)
    score.run(description, {"encode": encoded, "task": task}, scored, os.cpu_count())


# Benchmark of encoding with the ONNX int8 file of a model trained for it, with PyTorch in float32 as the reference: time and loss.
#
# The workflow trains and deploys the model (study quickstart, method baseline:onnx_int8), so that existing artifacts are reused. On CPUs
# whose integer sums would saturate, weights have 7 bits (reduce_range), as ONNX Runtime recommends.

STUDY, METRIC = "bench_onnx_int8", "ndcg@10"
SEEDS = (0, 1, 2)
OVERRIDES = (
    f"study.name={STUDY}",
    "study.matrix.method=[baseline:onnx_int8]",
    f"study.matrix.seed=[{','.join(map(str, SEEDS))}]",
    "deploy=[torch_fp32,onnx_int8]",
)
REDUCED = "++deploy.onnx_int8.quantization.reduce_range=true"
TEXTS, INT8_BATCH, INT8_PAIRS, THREADS = 500, 32, 5, 2
FASTER, LOSS_ALLOWED = 3.2, 0.005


def measure_onnx_int8(
    pairs: int = INT8_PAIRS, overrides: tuple[str, ...] = OVERRIDES, batch: int = INT8_BATCH, study: str = "quickstart"
) -> Iterator[Row]:
    """Measure the time from text to embedding with two threads, and the relative loss of nDCG@10, the mean over seeds and tasks.

    Args:
        pairs: number of measurements, of which the median is taken.
        overrides: overrides of the study.
        batch: number of texts per batch.
        study: name of the study.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--config", f"study={study}"]
    kernel = integer_kernel(features())
    if kernel in SATURATING:
        overrides, kernel = (*overrides, REDUCED), f"{kernel}, reduce_range"
    subprocess.run([*command, f"overrides={' '.join(overrides)}"], check=True)
    folder = Path("results/studies") / STUDY
    ours, theirs, documents = _encoders(_rows(folder / "runs.csv"))
    reference = f"torch_fp32, {len(documents)} documents of a task, tokenization included, batch {batch}, {kernel}"
    seconds = in_turns(partial(ours.encode, documents, batch), partial(theirs.encode, documents, batch), pairs)
    yield Row("onnx_int8_encode_time", *seconds, 1 / FASTER, "s", reference)
    scores = [row for row in _rows(folder / "tables" / "scores.csv") if row["metric"] == METRIC]
    scores = [row for row in scores if row["query_precision"] == row["doc_precision"] == "float32"]
    before, after = (
        mean(float(row["value"]) for row in scores if row["deploy"] == deploy) for deploy in ("torch_fp32", "onnx_int8")
    )
    reference = f"the relative loss of {METRIC} allowed, from {before:.4f} of torch_fp32"
    yield Row("onnx_int8_relative_loss", max(0.0, 1 - after / before), LOSS_ALLOWED, 1.0, "", reference)


def _encoders(runs: list[dict[str, str]]) -> tuple[Any, Any, list[str]]:
    """Return encoders of the first run's deployments, ONNX int8 and PyTorch, and the texts that both encode."""
    import pyarrow.parquet as pq

    from qatlab.artifact import read_json
    from qatlab.deployments.backends.onnx_runtime import OnnxEncoder
    from qatlab.deployments.torch import TorchDeployment, TorchEncoder

    results = Path("results")
    task = runs[0]["task"]
    first = {row["deploy"]: row for row in runs if row["run"] == runs[0]["run"] and row["task"] == task}
    encoding = read_json(results / first["onnx_int8"]["encode"] / "config.json")
    documents = pq.read_table(results / encoding["inputs"]["task"] / "documents.parquet")["text"].to_pylist()[:TEXTS]
    folders = [results / first[deploy]["deployed"] / "model" for deploy in ("onnx_int8", "torch_fp32")]
    return (
        OnnxEncoder(folders[0], THREADS),
        TorchEncoder(folders[1], THREADS, TorchDeployment(backend="torch")),
        documents,
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


# Benchmark of the peak memory of the stage `score` on a million documents, for the default grid and a wide one; the bound is 3 GiB.
#
# `python -m qatlab.bench.evaluation FOLDER` scores the task in a folder, which measure_score_memory() has written, and prints
# its peak memory in bytes.

MANY_DOCUMENTS, DIM, GIB_ALLOWED, AT_ONCE = 1_000_000, 384, 3.0, 1 << 16
FEW_METRICS = ["ndcg@10", "recall@100"]
DEFAULT = {"precisions": ["float32", "int8", "binary"]}
# One of each kind of step that allocates memory. More precisions and rotations of the same kinds take more time but not more memory,
# because outputs are scored one after another, and documents are rotated and quantized again for each, in blocks.
WIDE = {
    "precisions": ["float32", "int8", "int4", "binary", "float32_x_binary"],
    "scoring": ["dequantized", "rabitq"],
    "rescoring": ["none", [{"documents": "int8", "oversampling": 10}, "float32"]],
    "rotations": ["none", "itq", {"kind": "overcomplete", "bits": 1024}],
}
GRIDS: dict[str, tuple[Mapping[str, object], int]] = {
    "default": (DEFAULT, 100),
    "wide": (WIDE, 20),
}  # configuration and number of queries


def measure_score_memory(documents: int = MANY_DOCUMENTS, grids: tuple[str, ...] = tuple(GRIDS)) -> Iterator[Row]:
    """Measure the peak resident memory, in GiB, of a process that scores random embeddings of unit length."""
    for name in grids:
        config, queries = GRIDS[name]
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(Path(folder), documents, queries, {"metrics": FEW_METRICS, **config})
            command = [sys.executable, "-m", "qatlab.bench.evaluation", folder]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        reference = f"{GIB_ALLOWED:g} GiB, {documents:,} × {DIM}, {queries} queries"
        yield Row(f"score_memory_{name}_grid", int(printed.split()[-1]) / 2**30, GIB_ALLOWED, 1.0, "GiB", reference)


def write_inputs(folder: Path, documents: int, queries: int, config: dict[str, object]) -> None:
    """Write a task and its encoding as the stage reads them.

    Documents are written in blocks, so that this process needs little memory.

    Args:
        folder: an empty folder.
        documents: number of documents.
        queries: number of queries.
        config: configuration of the stage.
    """
    import pandas as pd

    from qatlab.evaluation.axes import unit_length
    from qatlab.models.settings import SIMILARITY_FILE

    for name in ("encode", "task", "score"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    shape = (documents, DIM)
    stored = np.lib.format.open_memmap(folder / "encode" / "documents.npy", mode="w+", dtype=np.float32, shape=shape)
    for first in range(0, documents, AT_ONCE):
        block = stored[first : first + AT_ONCE]
        block[:] = unit_length(rng.standard_normal(block.shape, dtype=np.float32))
    near = stored[:queries] + rng.standard_normal((queries, DIM), dtype=np.float32) / DIM**0.5
    np.save(folder / "encode" / "queries.npy", near)
    for name, count in (("documents", documents), ("queries", queries)):
        ids = [f"{name}-{number}" for number in range(count)]
        pd.DataFrame({"id": ids}).to_parquet(folder / "task" / f"{name}.parquet")
    judgements = [(f"queries-{number}", f"documents-{number}", 1) for number in range(queries)]
    table = pd.DataFrame(judgements, columns=["query_id", "doc_id", "relevance"])
    table.to_parquet(folder / "task" / "qrels.parquet")
    write_json(folder / "task" / MANIFEST, {"kind": "retrieval"})
    write_json(folder / "encode" / SIMILARITY_FILE, {"similarity": "cosine"})
    write_json(folder / "config.json", {"label": "of the benchmark", "config": config})


def _score(folder: Path) -> None:
    from qatlab.job import JobDescription
    from qatlab.stages import score

    inputs = {name: folder / name for name in ("encode", "task")}
    score.run(JobDescription.read(folder / "config.json"), inputs, folder / "score", os.cpu_count())


def _peak_bytes() -> int:
    """Return the peak resident memory of this process; on Linux, getrusage would include that of the parent when it forked."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # The unit is bytes on macOS.


SECONDS_ALLOWED, STARTS = 1.0, 9
# The modules that `python -m qatlab score` imports before it reads the first embedding.
CODE = "import sys, qatlab.__main__, qatlab.stages.score; sys.exit('torch' in sys.modules)"


def measure_score_startup(starts: int = STARTS) -> Iterator[Row]:
    """Measure the seconds of a new process that imports the modules of the stage, without the first, which may wait for the disk.

    Raises:
        subprocess.CalledProcessError: if torch is among the imported modules.
    """
    seconds = []
    for _ in range(starts + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", CODE], check=True)
        seconds.append(time.perf_counter() - began)
    yield Row("score_startup", statistics.median(seconds[1:]), SECONDS_ALLOWED, 1.0, "s", "the second allowed")


if __name__ == "__main__":
    _score(Path(sys.argv[1]))
    sys.stdout.write(f"{_peak_bytes()}\n")
