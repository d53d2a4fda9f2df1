"""Translations by a causal language model."""

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from qatlab.config.causal_lm import PredictConfig
from qatlab.models.causal_lm import beginning, filled, tokens_of


def translate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sources: list[str], prompt: str, config: PredictConfig
) -> list[str]:
    """The likeliest continuation of each source's prompt, up to the end of text, in the order of the sources.

    Sources of similar length, in tokens, go through the model together.
    """
    prompts = [[beginning(tokenizer), *tokens] for tokens in tokens_of(tokenizer, [filled(prompt, s) for s in sources])]
    order = np.argsort([-len(tokens) for tokens in prompts], kind="stable")
    found = [""] * len(sources)
    for first in range(0, len(order), config.batch_size):
        rows = order[first : first + config.batch_size]
        for row, text in zip(rows, _continued(model, tokenizer, [prompts[row] for row in rows], config), strict=True):
            found[row] = text
    return found


def _continued(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], config: PredictConfig
) -> list[str]:
    longest = max(map(len, prompts))
    padded = [[tokenizer.pad_token_id] * (longest - len(tokens)) + tokens for tokens in prompts]
    mask = [[0] * (longest - len(tokens)) + [1] * len(tokens) for tokens in prompts]
    with torch.inference_mode():
        made = model.generate(
            input_ids=torch.tensor(padded, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=config.max_new_tokens,
            num_beams=config.num_beams,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    texts: list[str] = tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True)
    return [text.strip() for text in texts]
