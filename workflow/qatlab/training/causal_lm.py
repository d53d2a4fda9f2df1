"""Examples of a causal language model: blocks of text, or translations behind their prompt."""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from qatlab.models.causal_lm import beginning, tokens_of

IGNORED = -100  # labels that the loss of Transformers leaves out
AT_ONCE = 1000


def blocks(tokenizer: PreTrainedTokenizerBase, texts: list[str], length: int) -> list[dict[str, list[int]]]:
    """All texts one behind the other, each behind the token that begins it, cut into blocks of `length` tokens.

    What is left at the end, less than a block, is not trained on.
    """
    stream: list[int] = []
    for first in range(0, len(texts), AT_ONCE):
        for tokens in tokens_of(tokenizer, texts[first : first + AT_ONCE]):
            stream += [beginning(tokenizer), *tokens]
    cuts = range(0, len(stream) - length + 1, length)
    return [{"input_ids": stream[at : at + length], "labels": stream[at : at + length]} for at in cuts]


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
        prompts = tokens_of(tokenizer, [filled(prompt, source) for source in sources[several]])
        answers = tokens_of(tokenizer, targets[several])
        for before, answer in zip(prompts, answers, strict=True):
            asked, told = [beginning(tokenizer), *before], [*answer, tokenizer.eos_token_id]
            if len(asked) + len(told) <= length:
                examples.append({"input_ids": asked + told, "labels": [IGNORED] * len(asked) + told})
    return examples, len(sources) - len(examples)


def filled(prompt: str, source: str) -> str:
    """The prompt for one text; other braces in it, and in the text, stay as they are."""
    before, _, behind = prompt.partition("{source}")
    return before + source + behind


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
