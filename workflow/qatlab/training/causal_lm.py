"""Training examples for causal language models: blocks of text, or translations that follow a prompt."""

from collections.abc import Iterable

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from qatlab.models.causal_lm import IGNORED, beginning_token, fill_prompt, tokens_of

TOKENIZED_AT_ONCE = 1000


class Blocks(Dataset[dict[str, object]]):
    """Data set of blocks of equal length, which are cut from the concatenation of all texts; one example per block.

    Each text starts with the beginning token. The remainder at the end, which is shorter than a block, is dropped. Tokens are stored
    in two bytes each if the vocabulary allows it.

    Args:
        tokenizer: the tokenizer.
        texts: the texts.
        length: number of tokens per block.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: list[str], length: int) -> None:
        dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
        first_token = beginning_token(tokenizer)
        parts = [
            np.concatenate([np.array([first_token, *tokens], dtype) for tokens in tokens_of(tokenizer, batch)])
            for batch in (texts[first : first + TOKENIZED_AT_ONCE] for first in range(0, len(texts), TOKENIZED_AT_ONCE))
        ]
        stream = np.concatenate(parts)
        self.tokens = stream[: len(stream) // length * length].reshape(-1, length)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, object]:
        tokens = self.tokens[index].tolist()
        return {"input_ids": tokens, "labels": tokens}


def translations(
    tokenizer: PreTrainedTokenizerBase, sources: list[str], targets: list[str], prompt: str, length: int
) -> tuple[list[dict[str, list[int]]], int]:
    """Build examples of a prompt, its target and the end of text; the loss covers only target and end.

    Args:
        tokenizer: the tokenizer.
        sources: the texts to translate.
        targets: their translations.
        prompt: the prompt, in which {source} stands for the source.
        length: largest number of tokens of an example.

    Returns:
        The examples, and the number of pairs that are left out because they are longer than `length` tokens.
    """
    examples = []
    for first in range(0, len(sources), TOKENIZED_AT_ONCE):
        batch = slice(first, first + TOKENIZED_AT_ONCE)
        prompts = tokens_of(tokenizer, [fill_prompt(prompt, source) for source in sources[batch]])
        answers = tokens_of(tokenizer, targets[batch])
        for prompt_tokens, answer in zip(prompts, answers, strict=True):
            context, predicted = [beginning_token(tokenizer), *prompt_tokens], [*answer, tokenizer.eos_token_id]
            if len(context) + len(predicted) <= length:
                examples.append({"input_ids": context + predicted, "labels": [IGNORED] * len(context) + predicted})
    return examples, len(sources) - len(examples)


class PadRight:
    """Collator that pads examples on the right to the length of the longest one.

    Args:
        padding: id of the padding token.
    """

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def __call__(self, examples: Iterable[dict[str, list[int]]]) -> dict[str, object]:
        """Return `input_ids`, `labels` and `attention_mask`, (examples, tokens) int64 each."""
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
