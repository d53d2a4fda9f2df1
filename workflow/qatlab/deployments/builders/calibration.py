"""Training texts on which activation ranges are calibrated and the drift of a quantized file is measured."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from qatlab.deployments.encoders.tokens import TokenBatches, by_length
from qatlab.models.settings import prompt_for

BATCH_SIZE = 16


def calibration_texts(folder: Path, data: Path, count: int) -> list[str]:
    """Return the queries and documents of the first training rows in alternation, with the model's prompts before them.

    Args:
        folder: folder of the model, which holds its prompts.
        data: folder of the data artifact; its first column holds queries, its second documents.
        count: largest number of texts.
    """
    table = pq.read_table(data / "train.parquet")
    rows = (count + 1) // 2
    columns = [
        [prompt_for(folder, side) + text for text in table.column(index).slice(0, rows).to_pylist()]
        for index, side in enumerate(("queries", "documents"))
    ]
    return [text for pair in zip(*columns, strict=True) for text in pair][:count]


def feeds(
    folder: Path, texts: list[str], names: set[str], same_length: bool = False
) -> Iterator[dict[str, np.ndarray]]:
    """Yield a model's inputs batch by batch.

    Args:
        folder: folder of the model, which holds its tokenizer.
        texts: the texts.
        names: names of the model's inputs.
        same_length: whether every batch is padded to the largest number of tokens that the model takes.
    """
    tokens = TokenBatches(folder)
    if same_length:
        tokens.pad_to(tokens.max_tokens)
    for batch in by_length(texts, BATCH_SIZE):
        yield tokens.feed([texts[index] for index in batch], names)
