"""Benchmark of encoding with the ONNX int8 file of a model trained for it, with PyTorch in float32 as the reference: time and loss.

The workflow trains and deploys the model (study quickstart, method baseline:onnx_int8), so that existing artifacts are reused. On CPUs
whose integer sums would saturate, weights have 7 bits (reduce_range), as ONNX Runtime recommends.
"""

import csv
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from qatlab.bench.row import Row, in_turns
from qatlab.machine.hardware import SATURATING, features, integer_kernel

STUDY, METRIC = "bench_onnx_int8", "ndcg@10"
SEEDS = (0, 1, 2)
OVERRIDES = (
    f"study.name={STUDY}",
    "study.matrix.method=[baseline:onnx_int8]",
    f"study.matrix.seed=[{','.join(map(str, SEEDS))}]",
    "deploy=[torch_fp32,onnx_int8]",
)
REDUCED = "++deploy.onnx_int8.quantization.reduce_range=true"
TEXTS, BATCH, PAIRS, THREADS = 500, 32, 5, 2
FASTER, LOSS_ALLOWED = 3.2, 0.005


def measure_onnx_int8(
    pairs: int = PAIRS, overrides: tuple[str, ...] = OVERRIDES, batch: int = BATCH, study: str = "quickstart"
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
