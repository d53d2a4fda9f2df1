"""Examples of a causal language model: blocks of text, or translations behind their prompt."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from qatlab.models.causal_lm import IGNORED, beginning_token, fill_prompt, tokens_of

AT_ONCE = 1000


class Blocks(Dataset[dict[str, Any]]):
    """Texts one behind the other, each behind the token that begins it, cut into blocks; an example a block.

    What is left at the end, less than a block, is not trained on. Tokens are held in two bytes each where they have no more.

    Args:
        length: tokens of a block.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: list[str], length: int) -> None:
        dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
        begins = beginning_token(tokenizer)
        parts = [
            np.concatenate([np.array([begins, *tokens], dtype) for tokens in tokens_of(tokenizer, some)])
            for some in (texts[first : first + AT_ONCE] for first in range(0, len(texts), AT_ONCE))
        ]
        stream = np.concatenate(parts)
        self.tokens = stream[: len(stream) // length * length].reshape(-1, length)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, at: int) -> dict[str, Any]:
        tokens = self.tokens[at].tolist()
        return {"input_ids": tokens, "labels": tokens}


def translations(
    tokenizer: PreTrainedTokenizerBase, sources: list[str], targets: list[str], prompt: str, length: int
) -> tuple[list[dict[str, list[int]]], int]:
    """Each target behind its prompt, with the end of text behind it; the loss is of target and end alone.

    Returns:
        The examples, and how many pairs are longer than `length` tokens and so left out.
    """
    examples = []
    for first in range(0, len(sources), AT_ONCE):
        several = slice(first, first + AT_ONCE)
        prompts = tokens_of(tokenizer, [fill_prompt(prompt, source) for source in sources[several]])
        answers = tokens_of(tokenizer, targets[several])
        for before, answer in zip(prompts, answers, strict=True):
            asked, told = [beginning_token(tokenizer), *before], [*answer, tokenizer.eos_token_id]
            if len(asked) + len(told) <= length:
                examples.append({"input_ids": asked + told, "labels": [IGNORED] * len(asked) + told})
    return examples, len(sources) - len(examples)


class PadRight:
    """Collates examples into tensors of the longest one's length."""

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def __call__(self, examples: Iterable[dict[str, list[int]]]) -> dict[str, Any]:
        """`input_ids`, `labels` and `attention_mask`, (examples, tokens) int64."""
        rows = list(examples)
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(key: str, value: int) -> torch.Tensor:
            return torch.tensor([row[key] + [value] * (longest - len(row[key])) for row in rows])

        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        return {
            "input_ids": padded("input_ids", self.padding),
            "labels": padded("labels", IGNORED),
            "attention_mask": (torch.arange(longest) < lengths[:, None]).long(),
        }
