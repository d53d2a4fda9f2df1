"""Benchmark of the default precision grid of a task, including encoding, with Sentence Transformers' evaluator as the reference.

It runs the stages `encode` and `score` as in a study (`qatlab.stages.encode.run`, `qatlab.stages.score.run`), on real folders: the
model is loaded, embeddings are written and read again, and every output of the default configuration is scored. The evaluator
receives a model that is already loaded. Both truncate texts at the same length, and use batches of the same size.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qatlab.artifact import write_json
from qatlab.bench.row import Row
from qatlab.evaluation.task import MANIFEST

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGES = ("stdlib", "numpy", "scipy", "networkx")
DOCUMENTS, QUERIES, TOKENS, BATCH, PAIRS = 5000, 500, 32, 32, 2
WARM_UP = 100  # number of documents in the first evaluations, which are not measured
PRECISIONS = ["float32", "int8", "binary"]
METRICS = ["ndcg@10", "mrr@10", "recall@10", "recall@100", "accuracy@1"]
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
    config = {"metrics": METRICS, "precisions": PRECISIONS}
    description = JobDescription(label="of the benchmark", config=config)
    score.run(description, {"encode": encoded, "task": task}, scored, os.cpu_count())
