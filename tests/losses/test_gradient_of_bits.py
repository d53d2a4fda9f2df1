"""The gradient of bits is that of codes scaled to the length of their embeddings, for every loss, model, estimator and precision."""

import logging
import math

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    CoSENTLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import dot_score
from torch import nn

from qatlab.losses import QuantizationAwareLoss
from qatlab.losses.terms import similarity_divergence
from qatlab.quantization import Clipped, MinMaxRange, Tanh, fake_quantize
from qatlab.quantization.precisions import similarity_slope

ROWS, DIM = 6, 32
SCORES = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.7, 0.2])


class Times(nn.Module):
    """Module that multiplies embeddings by a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, features):
        return {**features, "sentence_embedding": features["sentence_embedding"] * self.factor}


def unnormalized(tiny_model, factor=1.0):
    """Return a model whose embeddings have the length that pooling gives, which varies between texts."""
    modules = list(SentenceTransformer(str(tiny_model), device="cpu"))[:2]
    return SentenceTransformer(modules=[*modules, Times(factor)], device="cpu").eval()


def normalized(tiny_model, factor=1.0):
    modules = list(SentenceTransformer(str(tiny_model), device="cpu"))
    return SentenceTransformer(modules=[*modules, Times(factor)], device="cpu").eval()


MODELS = {"normalized": normalized, "unnormalized": unnormalized}


def ranking(model):
    return MultipleNegativesRankingLoss(model)


def products(model):
    return MultipleNegativesRankingLoss(model, scale=1.0, similarity_fct=dot_score)


def cached(model):
    return CachedMultipleNegativesRankingLoss(model, mini_batch_size=ROWS)


def cached_products(model):
    return CachedMultipleNegativesRankingLoss(model, scale=1.0, similarity_fct=dot_score, mini_batch_size=ROWS)


def matryoshka(model):
    return MatryoshkaLoss(model, ranking(model), [32, 16], [1.0, 0.5])


LOSSES = {
    "cosine": (ranking, None),
    "products": (products, None),
    "cached": (cached, None),
    "cached_products": (cached_products, None),
    "matryoshka": (matryoshka, None),
    "labelled": (CoSENTLoss, SCORES),
}


def features(model, pairs):
    return [model.preprocess(list(column)) for column in zip(*pairs[:ROWS], strict=True)]


def embed(model, pairs):
    return [model(dict(column))["sentence_embedding"] for column in features(model, pairs)]


class Served(nn.Module):
    """Replacement of a model that returns given embeddings in the order of columns."""

    def __init__(self, model, columns):
        super().__init__()
        self.columns, self.calls = columns, 0
        self.get_embedding_dimension = model.get_embedding_dimension

    def forward(self, *_):
        self.calls += 1
        return {"sentence_embedding": self.columns[(self.calls - 1) % len(self.columns)]}


def as_long_as(column, codes, length):
    """Scale `codes` (±1) to a length, with the straight-through gradient of the embedding scaled to the same length."""
    at_length = column * (length / column.detach().norm(dim=1, keepdim=True))
    return at_length + (codes * length / DIM**0.5 - at_length).detach()


def gradient_of(model, value):
    model.zero_grad()
    (sum(value.values()) if isinstance(value, dict) else value).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def expected_columns(columns, name):
    query, _, document = name.partition("_x_")
    length = torch.cat(columns).detach().square().sum(dim=1).mean().sqrt()
    ranges = MinMaxRange().fit(torch.cat(columns).detach())
    gradients = []
    for index, column in enumerate(columns):
        precision = (document or query) if index else query
        if precision == "binary":
            codes = torch.where(column > 0, 1.0, -1.0)
            gradients.append(as_long_as(column, codes, length))
        else:
            gradients.append(fake_quantize(column, precision, ranges))
    return gradients


@pytest.mark.parametrize("of_length", MODELS)
@pytest.mark.parametrize("loss_name", LOSSES)
@pytest.mark.parametrize("name", ["binary", "float32_x_binary", "binary_x_float32", "int8_x_binary"])
def test_the_gradient_is_that_of_codes_scaled_to_the_length_of_their_embeddings(
    tiny_model, pairs, of_length, loss_name, name
):
    model, (inner, labels) = MODELS[of_length](tiny_model), LOSSES[loss_name]
    loss = QuantizationAwareLoss(model, inner(model), precisions=[name], match_scales=False)
    gradient = gradient_of(model, loss(features(model, pairs), labels))
    columns = expected_columns(embed(model, pairs), name)
    served = Served(model, columns)
    if "cached" in loss_name:  # a cache changes nothing but memory
        options = {"scale": 1.0, "similarity_fct": dot_score} if "products" in loss_name else {}
        alone = MultipleNegativesRankingLoss(served, **options)
    else:
        alone = inner(served)
    expected = gradient_of(model, alone([{}, {}], labels))
    assert expected.norm() > 0
    assert torch.allclose(gradient, expected, atol=2e-5 * float(expected.abs().max()) + 1e-7, rtol=2e-3)


@pytest.mark.parametrize("of_length", MODELS)
def test_under_cosine_similarity_codes_have_each_embeddings_own_length(tiny_model, pairs, of_length):
    """A common length of the batch and a separate length of each row give the same result there."""
    model = MODELS[of_length](tiny_model)
    loss = QuantizationAwareLoss(model, ranking(model), precisions=["binary"], match_scales=False)
    gradient = gradient_of(model, loss(features(model, pairs), None))
    columns = [
        c + (torch.where(c > 0, 1.0, -1.0) * c.norm(dim=1, keepdim=True) / DIM**0.5 - c).detach()
        for c in embed(model, pairs)
    ]
    expected = gradient_of(model, ranking(model).compute_loss_from_embeddings(columns, None))
    assert torch.allclose(gradient, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-3)


@pytest.mark.parametrize("of_length", MODELS)
@pytest.mark.parametrize("estimator", [Clipped(0.05), Tanh(gamma=0.0, scale=5.0)], ids=["clipped", "tanh"])
def test_other_estimators_have_the_same_scale(tiny_model, pairs, of_length, estimator):
    model = MODELS[of_length](tiny_model)
    for inner in (ranking, products):
        loss = QuantizationAwareLoss(
            model, inner(model), precisions=["binary"], estimator=estimator, match_scales=False
        )
        gradient = gradient_of(model, loss(features(model, pairs), None))
        columns = embed(model, pairs)
        length = torch.cat(columns).detach().square().sum(dim=1).mean().sqrt()
        if isinstance(estimator, Tanh):
            served = [torch.tanh(5.0 * c) * length / DIM**0.5 for c in columns]
        else:
            inside = [torch.where(c.abs() <= 0.05, c, c.detach()) for c in columns]
            served = [as_long_as(c, torch.where(c > 0, 1.0, -1.0), length) for c in inside]
        expected = gradient_of(model, inner(model).compute_loss_from_embeddings(served, None))
        assert expected.norm() > 0
        assert torch.allclose(gradient, expected, atol=2e-5 * float(expected.abs().max()), rtol=2e-3)


@pytest.mark.parametrize("of_length", MODELS)
def test_the_gradient_of_distillation_has_the_same_scale(tiny_model, pairs, of_length):
    model = MODELS[of_length](tiny_model)
    options = {"precisions": ["binary"], "match_scales": False}
    with_it, without = (
        gradient_of(model, QuantizationAwareLoss(model, ranking(model), distillation=share, **options)(
            features(model, pairs), None))
        for share in (1.0, 0.0)
    )  # fmt: skip
    columns = embed(model, pairs)
    divergence = similarity_divergence(expected_columns(columns, "binary"), columns, 20.0)
    expected = gradient_of(model, divergence)
    assert expected.norm() > 0
    assert torch.allclose(with_it - without, expected, atol=2e-5 * float(with_it.abs().max()), rtol=2e-3)


def ratio(model, pairs, inner=ranking, name="binary", **options):
    loss = QuantizationAwareLoss(model, inner(model), precisions=["float32", name], **options)
    loss(features(model, pairs), None)
    return loss.gradients.latest[f"gradient_ratio_{name}"]


@pytest.mark.parametrize("of_length", MODELS)
@pytest.mark.parametrize("name", ["binary", "float32_x_binary"])
def test_the_gradient_ratio_does_not_depend_on_the_length_of_embeddings(tiny_model, pairs, of_length, name):
    ratios = [ratio(MODELS[of_length](tiny_model, factor), pairs, name=name) for factor in (0.01, 1.0, 100.0)]
    assert ratios == pytest.approx([ratios[1]] * 3, rel=1e-3)
    assert 0.1 < ratios[1] < 10


def test_the_published_gradient_ratio_is_the_embedding_length_over_the_code_length(tiny_model, pairs):
    """This is the fault of sentence-transformers' pull request 3655, which its variants reproduce."""
    for factor in (0.1, 1.0, 10.0):
        model = normalized(tiny_model, factor)
        ours = ratio(model, pairs, match_scales=False)
        for variant in ("pr3655", "pr3655_cache_fixed"):
            assert ratio(model, pairs, variant=variant) == pytest.approx(ours * factor / DIM**0.5, rel=0.02)


def test_dot_products_of_bits_are_on_the_scale_of_the_floats(tiny_model, pairs):
    for factor in (0.5, 2.0):
        model = normalized(tiny_model, factor)
        loss = QuantizationAwareLoss(model, products(model), precisions=["float32", "binary"], match_scales=False)
        loss(features(model, pairs), None)
        values = loss.diagnostics
        assert values["loss_binary"] == pytest.approx(values["loss_float32"], rel=0.3)
        assert 0.2 < loss.gradients.latest["gradient_ratio_binary"] < 5


@pytest.mark.parametrize("inner", [ranking, cached, matryoshka])
def test_ratio_and_cosine_are_those_of_separate_backward_passes(tiny_model, pairs, inner):
    model = normalized(tiny_model)
    loss = QuantizationAwareLoss(
        model, inner(model), precisions=["int8", "binary"], weights=[3.0, 0.2], distillation=0.5
    )
    (sum(v.values()) if isinstance(v := loss(features(model, pairs), None), dict) else v).backward()
    columns = [column.detach().requires_grad_() for column in embed(model, pairs)]
    ranges = MinMaxRange().fit(torch.cat(columns).detach())
    gradients = {}
    for name in ("float32", "int8", "binary"):
        quantized = [fake_quantize(column, name, ranges) for column in columns]
        quantized = [q * float(torch.cat(columns).detach().square().mean().sqrt()) for q in quantized] \
            if name == "binary" else quantized  # fmt: skip
        served = Served(model, quantized)
        alone = matryoshka(served) if inner is matryoshka else ranking(served)
        of_ranking = alone.loss if inner is matryoshka else alone
        of_ranking.scale = 20.0 * math.pi / 2 if name == "binary" else 20.0
        expected_gradients = torch.autograd.grad(alone([{}, {}], None), columns, retain_graph=True)
        gradients[name] = torch.cat([g.flatten() for g in expected_gradients])
    for name in ("int8", "binary"):
        expected = float(gradients[name].norm() / gradients["float32"].norm())
        assert loss.gradients.latest[f"gradient_ratio_{name}"] == pytest.approx(expected, rel=2e-2)
        expected = float(torch.cosine_similarity(gradients[name], gradients["float32"], dim=0))
        assert loss.gradients.latest[f"gradient_cosine_{name}"] == pytest.approx(expected, abs=2e-2)


@pytest.mark.parametrize("inner", [ranking, cached])
def test_gradients_are_compared_every_few_steps_and_change_nothing(tiny_model, pairs, inner):
    model = normalized(tiny_model)
    compared_steps = []
    for every in (0, 2):
        loss = QuantizationAwareLoss(model, inner(model), precisions=["binary", "int8"], diagnose_every=every)
        of_steps = []
        for step in range(4):
            loss.set_progress(step, 4)
            of_steps.append(gradient_of(model, loss(features(model, pairs), None)))
            assert ("gradient_ratio_binary" in loss.diagnostics) == (every == 2 and step % 2 == 0)
        compared_steps.append(torch.stack(of_steps))
    assert torch.equal(*compared_steps)
    with torch.no_grad():
        loss.set_progress(0, 4)
        loss(features(model, pairs), None)
    assert "gradient_ratio_binary" not in loss.diagnostics


def test_a_precision_with_a_weak_gradient_causes_one_warning_with_a_remedy(tiny_model, pairs, caplog):
    model = normalized(tiny_model, 0.1)
    loss = QuantizationAwareLoss(model, ranking(model), variant="pr3655_cache_fixed", diagnose_every=1)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            loss(features(model, pairs), None)
    (message,) = [record.message for record in caplog.records if record.name.startswith("qatlab")]
    assert "the gradient of binary at the embeddings is 0.0" in message
    assert message.endswith("leave variant out")


def test_the_scale_of_bits_follows_from_the_slope_of_their_similarities(tiny_model):
    model = normalized(tiny_model)
    names = ["float32", "int8", "binary", "float32_x_binary", "int8_x_ubinary"]
    loss = QuantizationAwareLoss(model, ranking(model), precisions=names)
    half = 20.0 * (math.pi / 2) ** 0.5
    expected = {"binary": 20.0 * math.pi / 2, "float32_x_binary": half, "int8_x_ubinary": half}
    assert loss.scales == pytest.approx(expected)
    given = QuantizationAwareLoss(model, ranking(model), precisions=names, scales={"binary": 25.0})
    assert given.scales == pytest.approx({**expected, "binary": 25.0})
    assert QuantizationAwareLoss(model, ranking(model), precisions=names, match_scales=False).scales == {}
    assert QuantizationAwareLoss(model, ranking(model), precisions=["float32", "binary"], variant="pr3655").scales == {}


def test_the_slope_is_that_of_random_embeddings():
    generator = torch.Generator().manual_seed(0)
    for cosine in (0.02, 0.1):
        x, noise = torch.randn(2, 4000, 512, generator=generator)
        y = cosine * x + (1 - cosine**2) ** 0.5 * noise
        for query, document in (("binary", "binary"), ("float32", "binary"), ("float32", "float32")):
            sides = (fake_quantize(side, p) for side, p in ((x, query), (y, document)))
            mean = float(torch.cosine_similarity(*sides).mean())
            assert mean == pytest.approx(similarity_slope(query, document) * cosine, abs=2e-3)
