"""encode: one pass of a deployed model over a task's documents and queries."""

import importlib
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from qatlab.artifact import read_json, write_json
from qatlab.config.encode import EncodeConfig
from qatlab.models.prompts import prompt_for
from qatlab.progress import Pace, clock, say
from qatlab.quantization.ranges import RANGES

ENCODERS = {"torch": ("qatlab.encoders.torch", "TorchEncoder"), "onnx": ("qatlab.encoders.onnx", "OnnxEncoder")}
BATCHES_AT_ONCE = 8


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes documents.npy and queries.npy, (n, dim) float32 in the order of the task's tables, and cost.json."""
    config = EncodeConfig.model_validate(description["config"])
    folder = inputs["deploy"] / "model"
    backend = read_json(inputs["deploy"] / "config.json")["config"]["backend"]
    module, name = ENCODERS[backend]
    encoder = getattr(importlib.import_module(module), name)(folder, threads)
    encoder.encode(["warm up"], config.batch_size)
    if (folder / RANGES).is_dir():
        shutil.copytree(folder / RANGES, output / RANGES)  # the model's own, for scoring
    count, seconds = 0, 0.0
    for table in ("documents", "queries"):
        prompt = prompt_for(folder, table)
        texts = [prompt + text for text in pq.read_table(inputs["task"] / f"{table}.parquet")["text"].to_pylist()]
        began = time.monotonic()
        embeddings = _encode(encoder, texts, config.batch_size, f"encode {description['label']}: {table}")
        seconds += time.monotonic() - began
        count += len(texts)
        if not np.isfinite(embeddings).all():
            raise ValueError(f"the model gives NaN or Inf for some of the {table}")
        np.save(output / f"{table}.npy", embeddings)
    write_json(
        output / "cost.json",
        {"texts": count, "seconds": seconds, "texts_per_second": count / seconds, "device": encoder.device},
    )


def _encode(encoder: Any, texts: list[str], batch_size: int, label: str) -> np.ndarray:
    """In blocks, so that someone waiting sees progress; a block is sorted by length within itself by the encoder."""
    block = max(len(texts) // 10, batch_size * BATCHES_AT_ONCE)
    pace, began, parts = Pace(), time.monotonic(), []
    pace.due()
    for start in range(0, len(texts), block):
        parts.append(encoder.encode(texts[start : start + block], batch_size))
        done = min(start + block, len(texts))
        if pace.due() and done < len(texts):
            left = (time.monotonic() - began) / done * (len(texts) - done)
            say(f"{label} {done} of {len(texts)}, {clock(left)} left")
    return np.concatenate(parts)
