"""Predictions of a deployed causal language model: translations of a task's sources, or the probabilities of its texts."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from qatlab.artifact import read_json
from qatlab.config.encode import PredictionConfig
from qatlab.deployments.deployment import Deployment, Pass
from qatlab.deployments.torch import TorchDeployment
from qatlab.evaluation.task import MANIFEST
from qatlab.families.causal_lm.deploy import load_deployed
from qatlab.job import JobDescription
from qatlab.machine.hardware import claim_gpu, describe_device, device_name, use_threads, visible_gpus
from qatlab.models.causal_lm import load_tokenizer
from qatlab.progress import Pace, clock, say

BATCHES_AT_ONCE = 8


def encode(
    description: JobDescription, deployment: Deployment, inputs: dict[str, Path], output: Path, threads: int | None
) -> Pass:
    """Write predictions.parquet in the order of the task's queries.

    Its columns are `id`, and for translation `prediction`, or for language modelling `nats` (−ln of the text's probability) and `bytes`
    (length in UTF-8).

    Args:
        description: the job's description, with a `PredictionConfig`.
        deployment: the deployment, which must be a `TorchDeployment`.
        inputs: artifacts of the job by role; `deploy` is the deployed model, `task` the task.
        output: folder of predictions.parquet.
        threads: number of CPU threads; None keeps the library's default.

    Returns:
        The number of texts, the duration without loading, and the device.
    """
    config = PredictionConfig.model_validate(description.config)
    assert isinstance(deployment, TorchDeployment)
    device = device_name() if deployment.runs_on_gpu else "cpu"
    if deployment.runs_on_gpu:
        claim_gpu(visible_gpus())
    use_threads(threads)
    folder = inputs["deploy"] / "model"
    model, tokenizer = load_deployed(folder, deployment, device), load_tokenizer(folder)
    rows = pq.read_table(inputs["task"] / "queries.parquet").to_pandas()
    translates = read_json(inputs["task"] / MANIFEST)["kind"] == "translation"

    def predict(texts: list[str]) -> dict[str, list[Any]]:
        if translates:
            from qatlab.models.translate import translate

            return {"prediction": translate(model, tokenizer, texts, config.prompt, config.predict)}
        from qatlab.models.likelihood import nats

        losses = nats(model, tokenizer, texts, config.max_seq_length, config.predict.batch_size)
        return {"nats": losses, "bytes": [len(text.encode()) for text in texts]}

    predict([rows["text"].iloc[0][:100]])  # warms up
    began = time.monotonic()
    columns = _in_blocks(predict, rows["text"].tolist(), config.predict.batch_size, f"encode {description.label}")
    seconds = time.monotonic() - began
    pd.DataFrame({"id": rows["id"], **columns}).to_parquet(output / "predictions.parquet", index=False)
    return Pass(len(rows), seconds, describe_device(device))


def _in_blocks(predict: Any, texts: list[str], batch_size: int, label: str) -> dict[str, list[Any]]:
    """Return the columns of all texts, predicted in blocks, so that progress is reported."""
    columns: dict[str, list[Any]] = {}
    pace, began = Pace(), time.monotonic()
    pace.due()
    block = batch_size * BATCHES_AT_ONCE
    for first in range(0, len(texts), block):
        for name, values in predict(texts[first : first + block]).items():
            columns.setdefault(name, []).extend(values)
        done = min(first + block, len(texts))
        if pace.due() and done < len(texts):
            left = (time.monotonic() - began) / done * (len(texts) - done)
            say(f"{label}: {done} of {len(texts)}, {clock(left)} left")
    return columns
