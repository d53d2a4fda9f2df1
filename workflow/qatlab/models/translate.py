"""Translation with a causal language model."""

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from qatlab.config.encode import PredictConfig
from qatlab.models.causal_lm import beginning_token, fill_prompt, tokens_of


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
