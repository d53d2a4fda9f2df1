"""Predictions of a deployed causal language model: translations of a task's sources, or the probabilities of its texts."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from qatlab.artifact import read_json
from qatlab.config.model import PredictConfig, PredictionConfig
from qatlab.deployments.deployment import Deployment, Pass
from qatlab.deployments.torch import TorchDeployment
from qatlab.evaluation.task import MANIFEST
from qatlab.families.causal_lm.deploy import load_deployed
from qatlab.job import JobDescription
from qatlab.machine.hardware import claim_gpu, describe_device, device_name, use_threads, visible_gpus
from qatlab.models.causal_lm import IGNORED, beginning_token, fill_prompt, load_tokenizer, tokens_of
from qatlab.progress import Pace, clock, say


def nats(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], length: int, batch_size: int
) -> list[float]:
    """Return the negative log-likelihood of each text in nats, computed in windows that do not overlap.

    Each token is predicted once, from the preceding tokens of its window; the first token of a window is predicted from the last
    token of the previous window, as in the evaluation of openai/parameter-golf. The first token of a text is predicted from the
    beginning token.

    Args:
        model: the causal language model.
        tokenizer: its tokenizer.
        texts: the texts.
        length: length of a window in tokens.
        batch_size: number of windows per forward pass.
    """
    windows: list[tuple[int, list[int], list[int]]] = []  # index of the text, input tokens, predicted tokens
    for row, tokens in enumerate(tokens_of(tokenizer, texts)):
        inputs = [beginning_token(tokenizer), *tokens]
        windows += [
            (row, inputs[start : start + length], inputs[start + 1 : start + 1 + length])
            for start in range(0, len(tokens), length)
        ]
    windows.sort(key=lambda window: -len(window[2]))
    sums = [0.0] * len(texts)
    for first in range(0, len(windows), batch_size):
        batch = windows[first : first + batch_size]
        for (row, _, _), value in zip(batch, _window_nats(model, [w[1:] for w in batch], tokenizer), strict=True):
            sums[row] += value
    return sums


def _window_nats(
    model: PreTrainedModel, windows: list[tuple[list[int], list[int]]], tokenizer: PreTrainedTokenizerBase
) -> list[float]:
    """Return the negative log-likelihood of each window, the longest of which is the first.

    Padding is at the end, where causal attention hides it from the tokens before it.
    """
    longest = len(windows[0][1])
    inputs = [w[0][: len(w[1])] + [tokenizer.pad_token_id] * (longest - len(w[1])) for w in windows]
    predicted = [w[1] + [IGNORED] * (longest - len(w[1])) for w in windows]
    with torch.inference_mode():
        logits = model(torch.tensor(inputs, device=model.device)).logits.float()
        labels = torch.tensor(predicted, device=model.device)
        losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    sums: list[float] = losses.double().sum(dim=1).tolist()
    return sums


def translate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sources: list[str], prompt: str, config: PredictConfig
) -> list[str]:
    """Translate texts by continuing a prompt for each of them until the end of text.

    Decoding is greedy or by beam search. Prompts of similar length in tokens are batched together.

    Args:
        model: the causal language model.
        tokenizer: its tokenizer.
        sources: the texts to translate.
        prompt: the prompt, in which {source} stands for the text.
        config: batch size, largest number of new tokens, and number of beams.

    Returns:
        The translations, in the order of the sources.
    """
    texts = [fill_prompt(prompt, source) for source in sources]
    prompts = [[beginning_token(tokenizer), *tokens] for tokens in tokens_of(tokenizer, texts)]
    order = np.argsort([-len(tokens) for tokens in prompts], kind="stable")
    translations = [""] * len(sources)
    for first in range(0, len(order), config.batch_size):
        rows = order[first : first + config.batch_size]
        continuations = _continue(model, tokenizer, [prompts[row] for row in rows], config)
        for row, text in zip(rows, continuations, strict=True):
            translations[row] = text
    return translations


def _continue(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], config: PredictConfig
) -> list[str]:
    longest = max(map(len, prompts))
    padded = [[tokenizer.pad_token_id] * (longest - len(tokens)) + tokens for tokens in prompts]
    mask = [[0] * (longest - len(tokens)) + [1] * len(tokens) for tokens in prompts]
    with torch.inference_mode():
        generated = model.generate(
            input_ids=torch.tensor(padded, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=config.max_new_tokens,
            num_beams=config.num_beams,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    texts: list[str] = tokenizer.batch_decode(generated[:, longest:], skip_special_tokens=True)
    return [text.strip() for text in texts]


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
            return {"prediction": translate(model, tokenizer, texts, config.prompt, config.predict)}

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
