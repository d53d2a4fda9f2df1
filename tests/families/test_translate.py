"""Translations: batches of any size give what one text at a time gives."""

import torch

from qatlab.config.model import PredictConfig
from qatlab.families.causal_lm.encode import translate
from qatlab.models.causal_lm import beginning_token, load_model, load_tokenizer, tokens_of

SOURCES = ["a", "three little words", "no", "{source} stays", "so it goes"]


def test_greedy_continuations(tiny_decoder_folder):
    model, tokenizer = load_model(tiny_decoder_folder), load_tokenizer(tiny_decoder_folder)
    translations = translate(model, tokenizer, SOURCES, "{source}>", PredictConfig(batch_size=3, max_new_tokens=6))
    for source, text in zip(SOURCES, translations, strict=True):
        tokens = [beginning_token(tokenizer), *tokens_of(tokenizer, [source + ">"])[0]]
        expected = []
        while len(expected) < 6:
            with torch.no_grad():
                expected.append(int(model(torch.tensor([tokens + expected])).logits[0, -1].argmax()))
            if expected[-1] == tokenizer.eos_token_id:
                break
        assert text == tokenizer.decode(expected, skip_special_tokens=True).strip()
