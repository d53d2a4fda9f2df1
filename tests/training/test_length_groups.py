"""A training batch in groups of texts of similar length: the same embeddings and gradients, from fewer padding tokens."""

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from qatlab.config.trainer import TrainerConfig
from qatlab.families.embedding.train import divide_by_length
from qatlab.models.embedding import load_model

ANCHORS = ["mean", "sum of values in a table of rows", "read the file", "values"]
POSITIVES = ["return the mean of the values in a table of rows", "sum", "open a file and read", "the values of rows"]


def gradients(folder, groups, side):
    """Return the gradients of a training step without dropout, and the number of tokens that the transformer received."""
    model = load_model(folder)
    model[0].tokenizer.padding_side = side
    tokens = []
    embeddings = model[0].auto_model.embeddings
    embeddings.word_embeddings.register_forward_pre_hook(lambda module, inputs: tokens.append(inputs[0].numel()))
    if side == "left":  # There, positions count padding tokens, which is a matter of the model.
        torch.nn.init.zeros_(embeddings.position_embeddings.weight)
        embeddings.position_embeddings.requires_grad_(False)
    if groups > 1:
        divide_by_length(model[0], groups)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    loss = MultipleNegativesRankingLoss(model)([model.preprocess(ANCHORS), model.preprocess(POSITIVES)], None)
    loss.backward()
    return {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}, sum(tokens)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("groups", [2, 4, 9])
def test_gradients_are_those_of_one_pass_from_fewer_tokens(tiny_model, groups, side):
    expected, tokens = gradients(tiny_model, 1, side)
    actual, fewer = gradients(tiny_model, groups, side)
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(actual[name], gradient, atol=1e-5, err_msg=name)
    assert fewer < tokens


def test_evaluation_is_one_pass(tiny_model):
    model = load_model(tiny_model)
    expected = model.encode(ANCHORS)
    divide_by_length(model[0], 4)
    np.testing.assert_array_equal(model.encode(ANCHORS), expected)


def test_one_group_is_not_part_of_a_training_s_identity():
    """Trainings of earlier releases keep their names."""
    assert "length_groups" not in TrainerConfig().model_dump(mode="json")
    assert TrainerConfig(length_groups=4).model_dump(mode="json")["length_groups"] == 4
    assert TrainerConfig.model_validate(TrainerConfig().model_dump()).length_groups == 1
