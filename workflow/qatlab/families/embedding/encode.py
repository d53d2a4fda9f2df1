"""Embeddings of a task's documents and queries, of a set of texts, or of training documents."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from qatlab.artifact import read_json, write_json
from qatlab.config.model import EncodeConfig, EncodeTrainingConfig
from qatlab.deployments.deployment import Deployment, Pass
from qatlab.evaluation.task import MANIFEST
from qatlab.job import JobDescription
from qatlab.models.settings import SIMILARITY_FILE, named_similarity, prompt_for
from qatlab.progress import Pace, clock, say
from qatlab.quantization.ranges import RANGES

BATCHES_AT_ONCE = 8


def encode(
    description: JobDescription, deployment: Deployment, inputs: dict[str, Path], output: Path, threads: int | None
) -> Pass:
    """Write documents.npy and, for a task, queries.npy, each (n, dim) float32 in the order of the tables.

    Of training data, the first documents are encoded, for ranges and axes that are fitted on them; for a head, their queries too.

    Args:
        description: the job's description, with an `EncodeConfig`, or an `EncodeTrainingConfig` for training data.
        deployment: the deployment.
        inputs: artifacts of the job by role; `deploy` is the deployed model, one of `task`, `texts`, `data` and `pairs` has the texts;
            the last two are training data, of which `data` gives the documents, and `pairs` the queries too.
        output: folder of the arrays, and of the model's own ranges.
        threads: number of CPU threads if the configuration does not set it; None keeps the library's default.

    Returns:
        The number of texts, the duration without loading, and the device.

    Raises:
        ValueError: for embeddings that are NaN or infinite.
    """
    of_training = "data" in inputs or "pairs" in inputs
    config = (EncodeTrainingConfig if of_training else EncodeConfig).model_validate(description.config)
    folder = inputs["deploy"] / "model"
    encoder = deployment.encoder(folder, config.threads or threads)
    if deployment.computes:
        encoder.encode(["warm up"], config.batch_size)
    deployment.check_encoder(encoder, folder, f"encode {description.label}")
    if (folder / RANGES).is_dir():
        shutil.copytree(folder / RANGES, output / RANGES)  # the model's own ranges, for scoring
    count, seconds = 0, 0.0
    for table, texts in _texts(inputs, config).items():
        prompt = prompt_for(folder, "pairs" if _are_pairs(inputs) else table)
        began = time.monotonic()
        embeddings = _encode(encoder, texts, prompt, config.batch_size, f"encode {description.label}: {table}")
        seconds += time.monotonic() - began
        count += len(texts)
        if not np.isfinite(embeddings).all():
            raise ValueError(f"the model gives NaN or Inf for some of the {table}")
        np.save(output / f"{table}.npy", embeddings)
    write_json(output / SIMILARITY_FILE, {"similarity": named_similarity(folder)})
    return Pass(count, seconds, encoder.device)


def _texts(inputs: dict[str, Path], config: EncodeConfig) -> dict[str, list[str]]:
    """Return the texts to encode, by table: a task's documents and queries, a set of texts, or documents of training data."""
    if isinstance(config, EncodeTrainingConfig):
        role, columns = ("pairs", {"documents": 1, "queries": 0}) if "pairs" in inputs else ("data", {"documents": 1})
        rows = pq.read_table(inputs[role] / "train.parquet").slice(0, config.rows)
        return {table: rows.column(column).to_pylist() for table, column in columns.items()}
    role, tables = ("task", ("documents", "queries")) if "task" in inputs else ("texts", ("documents",))
    return {
        table: pq.read_table(inputs[role] / f"{table}.parquet", columns=["text"])["text"].to_pylist()
        for table in tables
    }


def _are_pairs(inputs: dict[str, Path]) -> bool:
    """Return whether the texts are pairs of a similarity task, so that neither side is queries or documents."""
    return "task" in inputs and read_json(inputs["task"] / MANIFEST)["kind"] == "similarity"


def _encode(encoder: Any, texts: list[str], prompt: str, batch_size: int, label: str) -> np.ndarray:
    """Encode texts in descending order of length, to pad little, and in blocks, to report progress.

    Args:
        encoder: encoder of the deployment.
        texts: the texts.
        prompt: prefix of each text.
        batch_size: number of texts per forward pass.
        label: start of the line that reports progress.

    Returns:
        Embeddings in the order of the texts, (n, dim) float32.
    """
    block = max(len(texts) // 10, batch_size * BATCHES_AT_ONCE)
    order = np.argsort([-len(text) for text in texts], kind="stable")
    letters = sum(map(len, texts))  # for the remaining time, because the remaining texts are shorter
    pace, began, parts, done = Pace(), time.monotonic(), [], 0
    pace.due()
    for start in range(0, len(texts), block):
        block_texts = [texts[row] for row in order[start : start + block]]
        parts.append(encoder.encode(block_texts, batch_size, prompt))
        done += sum(map(len, block_texts))
        if pace.due() and 0 < done < letters:
            left = (time.monotonic() - began) / done * (letters - done)
            say(f"{label} {start + len(block_texts)} of {len(texts)}, {clock(left)} left")
    embeddings: np.ndarray = np.concatenate(parts)[np.argsort(order)]
    return embeddings
