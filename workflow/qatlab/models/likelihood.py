"""Log-likelihoods of texts under a causal language model."""

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from qatlab.models.causal_lm import IGNORED, beginning_token, tokens_of


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
