"""A float teacher: its divergence, the gradient of the sum, and that nothing of the teacher is trained or saved."""

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.nn import functional as F

from qatlab.config.method import MethodConfig
from qatlab.losses.terms import FloatTeacherLoss
from qatlab.models.embedding import load_model

TEXTS = (["one query", "another longer query", "a third"], ["its answer", "what it asks for", "words"])
SCALE, WEIGHT = 7.0, 0.5


@pytest.fixture
def models(tiny_model):
    student, teacher = load_model(tiny_model, "cpu"), load_model(tiny_model, "cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return student.eval(), teacher


def features(model):
    return [model.preprocess(column) for column in TEXTS]


def test_the_loss_is_the_sum_of_the_wrapped_loss_and_the_weighted_divergence(models):
    student, teacher = models
    inner = MultipleNegativesRankingLoss(student, scale=SCALE)
    loss = FloatTeacherLoss(student, inner, teacher, WEIGHT, SCALE)
    parts = loss(features(student), None)
    expected = inner(features(student), None)
    similarities = []
    for model in (teacher, student):
        queries, documents = (F.normalize(model(column)["sentence_embedding"], dim=1) for column in features(model))
        similarities.append(SCALE * queries @ documents.T)
    p, q = (F.log_softmax(side, dim=1) for side in similarities)
    divergence = (p.exp() * (p - q)).sum(dim=1).mean()
    assert parts["float32"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts["float_teacher"].item() == pytest.approx(WEIGHT * divergence.item(), rel=1e-4)
    total = sum(parts.values())
    parameters = list(student.parameters())
    ours = torch.autograd.grad(total, parameters, allow_unused=True)
    theirs = torch.autograd.grad(expected + WEIGHT * divergence, parameters, allow_unused=True)
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=1e-5)


def test_the_divergence_of_a_model_from_itself_is_zero_and_the_teacher_has_no_gradient(tiny_model):
    student, teacher = load_model(tiny_model, "cpu").eval(), load_model(tiny_model, "cpu")
    loss = FloatTeacherLoss(student, MultipleNegativesRankingLoss(student), teacher, WEIGHT, SCALE)
    parts = loss(features(student), None)
    assert abs(parts["float_teacher"].item()) < 1e-6
    sum(parts.values()).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    own = {id(parameter) for parameter in loss.parameters()}
    assert own == {id(parameter) for parameter in student.parameters()}
    assert not any(key.startswith("_teacher") for key in loss.state_dict())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "float_teacher has no effect without weights"),
        ({"weights": "int4", "embedding_quantization": {"precisions": {"int8": {}}}}, "is for float embeddings"),
        ({"weights": "int4", "loss": {"name": "cached_multiple_negatives_ranking"}}, "computes them in parts"),
        ({"train": False}, "train is false"),
    ],
)
def test_a_method_that_cannot_have_a_teacher_is_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        MethodConfig(name="tried", float_teacher=1.0, **keys)
