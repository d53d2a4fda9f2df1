"""BPR: the annealed tanh of both sides, the reranking term and the candidate-generation term, against the paper's formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from torch.nn import functional as F

from qatlab.losses import QuantizationAwareLoss
from qatlab.losses.terms import MarginRanking, margin_ranking_loss
from qatlab.quantization import Tanh

ROWS, DIM = 6, 32


@pytest.fixture
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu").eval()


def features(model, pairs, columns=3):
    texts = [list(column) for column in zip(*pairs[:ROWS], strict=True)]
    texts.append([code for _, code in pairs[ROWS : 2 * ROWS]])  # hard negatives
    return [model.preprocess(column) for column in texts[:columns]]


def embed(model, inputs):
    return [model(dict(column))["sentence_embedding"] for column in inputs]


def total(value):
    return sum(value.values()) if isinstance(value, dict) else value


def gradient(model, value):
    model.zero_grad()
    total(value).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def pair_by_pair(codes, margin):
    """Return the mean over all pairs of a query and another document, one hinge at a time."""
    queries, documents = codes[0], torch.cat(codes[1:])
    hinges = []
    for i, query in enumerate(queries):
        own = query @ documents[i] / len(query)
        for j, document in enumerate(documents):
            if j != i:
                hinges.append((margin - own + query @ document / len(query)).clamp_min(0))
    return torch.stack(hinges).mean()


def published(codes, margin):
    """Return the term as the authors' code computes it, with products that are not divided by the number of bits."""
    queries, documents = codes[0], torch.cat(codes[1:])
    products = queries @ documents.T
    is_own = torch.eye(*products.shape, dtype=torch.bool)
    own = products[is_own].repeat_interleave(len(documents) - 1)
    return F.margin_ranking_loss(own, products[~is_own], torch.ones_like(own), margin)


@given(st.integers(0, 2**31), st.integers(2, 8), st.integers(1, 24), st.integers(2, 4), st.floats(0, 2))
@settings(deadline=None, max_examples=100)
def test_margin_ranking_is_the_mean_hinge_over_pairs(seed, rows, dim, columns, margin):
    generator = torch.Generator().manual_seed(seed)
    codes = [torch.tanh(3 * torch.randn(rows, dim, generator=generator)).requires_grad_() for _ in range(columns)]
    value = margin_ranking_loss(codes, margin)
    assert float(value.detach()) == pytest.approx(float(pair_by_pair(codes, margin).detach()), rel=1e-4, abs=1e-6)
    expected = published(codes, margin * dim) / dim
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-4, abs=1e-6)
    hinges = 1.0 - margin_of_pairs(codes, margin)
    if hinges.abs().min() > 1e-4:  # at a kink the two may choose different subgradients
        ours, theirs = (torch.autograd.grad(v, codes) for v in (value, expected))
        assert all(torch.allclose(a, b, atol=1e-6, rtol=1e-4) for a, b in zip(ours, theirs, strict=True))


def margin_of_pairs(codes, margin):
    """Return 1 − (margin − s⁺ + s⁻) of every query and every document of the batch."""
    products = codes[0].detach() @ torch.cat(codes[1:]).detach().T / codes[0].shape[1]
    return 1.0 - (margin - products.diagonal().unsqueeze(1) + products)


def test_margin_ranking_of_perfect_and_of_worthless_codes():
    signs = torch.where(torch.randn(8, 64, generator=torch.Generator().manual_seed(0)) > 0, 1.0, -1.0)
    assert float(margin_ranking_loss([signs, signs], 0.1)) == 0
    assert float(margin_ranking_loss([signs, -signs], 0.1)) > 1
    assert float(margin_ranking_loss([torch.ones(8, 64), torch.ones(8, 64)], 0.1)) == pytest.approx(0.1)
    assert float(margin_ranking_loss([signs[:1], signs[:1]], 0.1)) == 0  # nothing to rank
    with pytest.raises(ValueError, match="at least two text columns, not 1"):
        margin_ranking_loss([signs], 0.1)


def cached(model):
    return CachedMultipleNegativesRankingLoss(model, mini_batch_size=ROWS)


@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("step", [0, 30])
def test_bpr_has_both_terms_of_the_paper(model, pairs, inner, columns, step):
    """The formulas are written out here, so that nothing of the loss is used to check it."""
    loss = QuantizationAwareLoss(
        model,
        inner(model),
        precisions=["float32_x_binary"],
        estimator=Tanh(gamma=0.1),
        margin_ranking=MarginRanking(margin=0.1, weight=0.7),
    )
    inputs = features(model, pairs, columns)
    loss.set_progress(step, 100)
    value = loss(inputs, None)
    combined = gradient(model, value)

    beta = math.sqrt(0.1 * step + 1)
    embeddings = embed(model, inputs)
    codes = [torch.tanh(beta * math.sqrt(DIM) * x / x.norm(dim=1, keepdim=True)) for x in embeddings]
    documents = torch.cat(codes[1:])
    cosines = F.normalize(embeddings[0], dim=1) @ F.normalize(documents, dim=1).T
    reranking = F.cross_entropy(20.0 * math.sqrt(math.pi / 2) * cosines, torch.arange(ROWS))
    expected = reranking + 0.7 * 20.0 * pair_by_pair(codes, 0.1)
    assert float(total(value).detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    assert loss.diagnostics["margin_ranking"] == pytest.approx(float(pair_by_pair(codes, 0.1).detach()), rel=1e-4)
    gradient_of_formula = gradient(model, expected)
    scale = float(gradient_of_formula.abs().max())
    assert scale > 0
    assert torch.allclose(combined, gradient_of_formula, atol=1e-4 * scale, rtol=1e-3)


def test_margin_ranking_of_signs_has_the_gradient_of_codes_at_their_length(model, pairs):
    """With the straight-through estimator, the codes are ±1, and their gradient is that of √d · x / ‖x‖ with a constant length."""
    results = []
    inputs = features(model, pairs)
    for ranking in (None, MarginRanking()):
        loss = QuantizationAwareLoss(
            model, MultipleNegativesRankingLoss(model), precisions=["float32"], margin_ranking=ranking
        )
        results.append(gradient(model, loss(inputs, None)))
    codes = []
    for x in embed(model, inputs):
        at_length = math.sqrt(DIM) * x / x.detach().norm(dim=1, keepdim=True)
        codes.append(at_length + (torch.where(x > 0, 1.0, -1.0) - at_length).detach())
    expected = gradient(model, 20.0 * pair_by_pair(codes, 0.1))
    scale = float(expected.abs().max())
    assert scale > 0
    assert torch.allclose(results[1] - results[0], expected, atol=1e-3 * scale, rtol=1e-2)


def test_training_lowers_the_share_of_queries_whose_codes_rank_another_document_first(model, pairs):
    loss = QuantizationAwareLoss(
        model,
        MultipleNegativesRankingLoss(model),
        precisions=["float32_x_binary"],
        estimator=Tanh(gamma=0.1),
        margin_ranking=MarginRanking(),
    )
    optimizer, values = torch.optim.Adam(model.parameters(), lr=2e-3), []
    for step in range(25):
        loss.set_progress(step, 25)
        value = total(loss(features(model, pairs), None))
        codes = [torch.where(x > 0, 1.0, -1.0) for x in embed(model, features(model, pairs))]
        values.append(float(margin_ranking_loss(codes, 0.1)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert values[-1] < 0.5 * values[0]


def test_wrong_settings_are_refused(model, pairs):
    for options in ({"margin": -0.1}, {"weight": 0}, {"margin": math.nan}):
        with pytest.raises(ValueError, match="a margin ≥ 0 and a weight above 0"):
            MarginRanking(**options)
    inner = MultipleNegativesRankingLoss(model)
    with pytest.raises(ValueError, match="leave regularization and margin_ranking out"):
        QuantizationAwareLoss(model, inner, variant="pr3655", margin_ranking=MarginRanking())
    loss = QuantizationAwareLoss(model, inner, precisions=["float32"], estimator=Tanh(), margin_ranking=MarginRanking())
    with pytest.raises(ValueError, match=r"callbacks=\[QuantizationAwareCallback\(loss\)\]"):
        loss(features(model, pairs), None)
    config = loss.get_config_dict()
    assert config["margin_ranking"] == {"margin": 0.1, "weight": 1.0}


def test_it_works_inside_matryoshka(model, pairs):
    loss = QuantizationAwareLoss(
        model, MultipleNegativesRankingLoss(model), precisions=["float32"], margin_ranking=MarginRanking()
    )
    value = MatryoshkaLoss(model, loss, [32, 16])(features(model, pairs), None)
    assert gradient(model, value).isfinite().all()
