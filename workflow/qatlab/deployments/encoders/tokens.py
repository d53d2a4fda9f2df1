"""Tokenization in batches with the tokenizers library alone, for runtimes that need no PyTorch."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from qatlab.artifact import read_json

NO_LIMIT = 1_000_000  # tokens; some tokenizers state a limit of 10^30


class TokenBatches:
    """Tokenizer of a Sentence Transformers folder.

    Attributes:
        max_tokens: largest number of tokens per text; longer texts are truncated.
    """

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        settings = read_json(folder / "tokenizer_config.json")
        pad_token = settings.get("pad_token") or "[PAD]"
        pad_token = pad_token["content"] if isinstance(pad_token, dict) else pad_token
        self._padding = {
            "pad_id": self.tokenizer.token_to_id(pad_token),
            "pad_token": pad_token,
            "direction": settings.get("padding_side", "right"),
        }
        self.max_tokens = _max_tokens(folder, settings)
        self.tokenizer.enable_truncation(self.max_tokens, direction=settings.get("truncation_side", "right"))
        self.pad_to(None)

    def pad_to(self, length: int | None) -> None:
        """Pad every text to `length` tokens from now on; None pads to the longest text of the batch."""
        self.tokenizer.enable_padding(length=length, **self._padding)

    def feed(self, texts: list[str], names: set[str]) -> dict[str, np.ndarray]:
        """Return the arrays, (texts, tokens) int64, of those inputs that are in `names`, by name."""
        tokens = self.tokenizer.encode_batch(texts)
        columns = {
            "input_ids": [t.ids for t in tokens],
            "attention_mask": [t.attention_mask for t in tokens],
            "token_type_ids": [t.type_ids for t in tokens],
        }
        return {name: np.asarray(values, dtype=np.int64) for name, values in columns.items() if name in names}


def by_length(texts: list[str], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of texts in batches of similar length, longest first; batches do not depend on the runtime."""
    order = sorted(range(len(texts)), key=lambda index: (-len(texts[index]), index))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def encode_by_length(texts: list[str], batch_size: int, embed: Callable[[list[str]], np.ndarray]) -> np.ndarray:
    """Encode texts in batches of similar length.

    Args:
        texts: at least one text.
        batch_size: number of texts per batch.
        embed: computes the embeddings, (batch, dim), of a batch of texts.

    Returns:
        Embeddings, (n, dim) float32, in the order of the texts.
    """
    embeddings: np.ndarray | None = None
    for batch in by_length(texts, batch_size):
        vectors = embed([texts[index] for index in batch])
        if embeddings is None:
            embeddings = np.empty((len(texts), vectors.shape[1]), dtype=np.float32)
        embeddings[batch] = vectors
    assert embeddings is not None
    return embeddings


def _max_tokens(folder: Path, tokenizer_settings: dict[str, Any]) -> int:
    """Return the largest number of tokens per text, at most the number of positions.

    Sentence Transformers stores it with the module in older versions, and with the tokenizer since 5.4.
    """
    module_settings = read_json(folder / "sentence_bert_config.json")
    limit = module_settings.get("max_seq_length") or tokenizer_settings.get("model_max_length") or NO_LIMIT
    positions = read_json(folder / "config.json").get("max_position_embeddings") or NO_LIMIT
    return int(min(limit, positions if positions > 0 else NO_LIMIT, NO_LIMIT))
