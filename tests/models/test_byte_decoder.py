"""A decoder made on the spot: its tokens are bytes, and it is the same each time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from qatlab.artifact import sha256_of
from qatlab.config.model import ModelConfig
from qatlab.models.causal_lm import beginning_token, byte_tokenizer, make, output_head_is_tied, tokens_of

TOKENIZER = byte_tokenizer()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_token_is_a_byte(text):
    (tokens,) = tokens_of(TOKENIZER, [text])
    if "<|" not in text:
        assert len(tokens) == len(text.encode())
        assert TOKENIZER.decode(tokens) == text


def test_transformers_loads_it_and_it_is_the_same_each_time(tmp_path, tiny_decoder):
    for name in ("one", "other"):
        make(tiny_decoder, 32, tmp_path / name)
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "other")
    make(tiny_decoder.model_copy(update={"seed": 1}), 32, tmp_path / "seed")
    assert sha256_of(tmp_path / "one") != sha256_of(tmp_path / "seed")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "one")
    assert output_head_is_tied(model)
    assert model.config.vocab_size == len(tokenizer) == 258
    assert beginning_token(tokenizer) == tokenizer.eos_token_id
    assert model(torch.tensor([tokenizer("é\u2028x")["input_ids"]])).logits.shape == (1, 6, 258)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "d", "decoder": {}}, "decoder and prompt are for causal language models; set kind: causal_lm"),
        ({"name": "d", "prompt": "{source}:"}, "decoder and prompt are for causal"),
        ({"name": "d", "kind": "causal_lm", "prompt": "translate"}, "prompt must contain {source} exactly once"),
        (
            {"name": "d", "kind": "causal_lm", "decoder": {"num_attention_heads": 7}},
            "num_attention_heads 7 must divide hidden_size 512",
        ),
        ({"name": "d", "kind": "causal_lm", "decoder": {}, "num_hidden_layers": 1}, "decoder.num_hidden_layers"),
    ],
)
def test_inconsistent_sizes_are_reported(values, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.model_validate(values)
