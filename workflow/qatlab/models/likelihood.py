"""How likely a causal language model finds texts."""

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from qatlab.models.causal_lm import IGNORED, beginning, tokens_of


def nats(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], length: int, batch_size: int
) -> list[float]:
    """Of each text: −ln of its probability, given where it begins, read in windows that don't overlap.

    Each token is predicted once, from those before it in its window of `length`; the first of a window from the last of the
    window before, as in openai/parameter-golf's evaluation.

    Args:
        batch_size: windows at once.
    """
    windows: list[tuple[int, list[int], list[int]]] = []  # of which text; what is read, what is predicted
    for row, tokens in enumerate(tokens_of(tokenizer, texts)):
        read = [beginning(tokenizer), *tokens]
        windows += [
            (row, read[at : at + length], read[at + 1 : at + 1 + length]) for at in range(0, len(tokens), length)
        ]
    windows.sort(key=lambda window: -len(window[2]))
    sums = [0.0] * len(texts)
    for first in range(0, len(windows), batch_size):
        some = windows[first : first + batch_size]
        for (row, _, _), value in zip(some, _of_windows(model, [w[1:] for w in some], tokenizer), strict=True):
            sums[row] += value
    return sums


def _of_windows(
    model: PreTrainedModel, windows: list[tuple[list[int], list[int]]], tokenizer: PreTrainedTokenizerBase
) -> list[float]:
    """The longest is the first. Padding stands behind, where nothing before it sees it."""
    longest = len(windows[0][1])
    read = [w[0][: len(w[1])] + [tokenizer.pad_token_id] * (longest - len(w[1])) for w in windows]
    predicted = [w[1] + [IGNORED] * (longest - len(w[1])) for w in windows]
    with torch.inference_mode():
        logits = model(torch.tensor(read, device=model.device)).logits.float()
        labels = torch.tensor(predicted, device=model.device)
        losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    sums: list[float] = losses.double().sum(dim=1).tolist()
    return sums
