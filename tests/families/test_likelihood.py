"""How likely texts are: every token is predicted once, whatever the windows and batches."""

import pytest
import torch

from qatlab.families.causal_lm.encode import nats
from qatlab.models.causal_lm import beginning_token, load_model, load_tokenizer, tokens_of

TEXTS = ["def f(x):\n    return x", "a", "héllo wörld", "The quick brown fox jumps over the lazy dog. " * 3]


def by_hand(model, tokenizer, text):
    """In one window."""
    tokens = [beginning_token(tokenizer), *tokens_of(tokenizer, [text])[0]]
    with torch.no_grad():
        shares = model(torch.tensor([tokens])).logits.double().log_softmax(-1)[0]
    return -sum(shares[at, token].item() for at, token in enumerate(tokens[1:]))


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_one_window_is_the_whole_text(tiny_decoder_folder, batch_size):
    model, tokenizer = load_model(tiny_decoder_folder), load_tokenizer(tiny_decoder_folder)
    expected = [by_hand(model, tokenizer, text) for text in TEXTS]
    assert nats(model, tokenizer, TEXTS, 256, batch_size) == pytest.approx(expected, rel=1e-5)


def test_windows_begin_with_the_token_before(tiny_decoder_folder):
    model, tokenizer = load_model(tiny_decoder_folder), load_tokenizer(tiny_decoder_folder)
    (tokens,) = tokens_of(tokenizer, TEXTS[3:])
    read = [beginning_token(tokenizer), *tokens]
    total = 0.0
    for at in range(0, len(tokens), 16):
        window = read[at : at + 17]
        with torch.no_grad():
            shares = model(torch.tensor([window[:-1]])).logits.double().log_softmax(-1)[0]
        total -= sum(shares[place, token].item() for place, token in enumerate(window[1:]))
    assert nats(model, tokenizer, TEXTS[3:], 16, 4) == [pytest.approx(total, rel=1e-5)]
