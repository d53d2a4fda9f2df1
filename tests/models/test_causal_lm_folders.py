"""Folders of causal language models: what is loaded of them, and what is refused."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3ForCausalLM, Gemma3ForConditionalGeneration

import miniatures
from qatlab.errors import UserError
from qatlab.models.causal_lm import load_model, without_weights


def test_of_a_model_for_images_too_the_part_for_text_is_loaded(tmp_path):
    folder = miniatures.gemma3_with_images(tmp_path / "model")
    model = load_model(folder)
    assert type(model) is Gemma3ForCausalLM
    assert not any("vision" in name for name, _ in without_weights(folder, None).named_modules())
    whole = Gemma3ForConditionalGeneration.from_pretrained(folder).eval()
    tokens = torch.tensor([[2, 10, 11, 12]])
    assert torch.equal(model(tokens).logits, whole(tokens).logits)


def test_it_saves_only_the_text_decoder(tmp_path):
    load_model(miniatures.gemma3_with_images(tmp_path / "model")).save_pretrained(tmp_path / "saved")
    assert type(load_model(tmp_path / "saved")) is Gemma3ForCausalLM


def test_weights_that_are_missing_are_one_line(tmp_path):
    folder = miniatures.gemma3(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 of Gemma3ForCausalLM, such as model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(folder)
    load_model(folder, complete=False)
