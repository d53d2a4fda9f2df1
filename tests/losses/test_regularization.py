"""Regularization: closed forms in NumPy, gradients by finite differences, and what the loss adds for each term."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    GlobalOrthogonalRegularizationLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)

from qatlab.losses import QuantizationAwareLoss, terms
from qatlab.losses.terms import REGULARIZATION_TERMS as TERMS
from qatlab.losses.terms import Regularization, balance, decorrelation, soft_bits, spread_out

ROWS, DIM = 6, 32
WEIGHTS = {"spread_out": 2.0, "balance": 0.5, "decorrelation": 3.0}


@pytest.fixture
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu").eval()


def features(model, pairs):
    return [model.preprocess(list(column)) for column in zip(*pairs[:ROWS], strict=True)]


def total(value):
    return sum(value.values()) if isinstance(value, dict) else value


def gradient(model, value):
    model.zero_grad()
    total(value).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def columns_of(seed, rows=12, dim=5, mean=0.5, count=2):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, dim, generator=generator, dtype=torch.float64) + mean for _ in range(count)]


def bits_in_numpy(columns):
    stacked = np.concatenate([column.numpy() for column in columns])
    return np.tanh(math.sqrt(stacked.shape[1]) * stacked / np.linalg.norm(stacked, axis=1, keepdims=True))


def in_numpy(name, columns):
    if name == "balance":
        return (bits_in_numpy(columns).mean(axis=0) ** 2).mean()
    if name == "decorrelation":
        bits = bits_in_numpy(columns)
        return np.mean([np.mean(bits[:, i] * bits[:, j]) ** 2 for i in range(5) for j in range(5) if i != j])
    values = []
    for column in columns:
        unit = column.numpy() / np.linalg.norm(column.numpy(), axis=1, keepdims=True)
        cosines = [float(unit[i] @ unit[j]) for i in range(len(unit)) for j in range(len(unit)) if i != j]
        values.append(np.mean(cosines) ** 2 + max(0, np.mean(np.square(cosines)) - 1 / column.shape[1]))
    return np.mean(values)


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("mean", [0.0, 0.5, 3.0])
def test_each_term_is_its_closed_form_and_has_the_gradient_of_finite_differences(name, mean):
    columns = columns_of(0, mean=mean)
    assert float(TERMS[name](columns)) == pytest.approx(in_numpy(name, columns), rel=1e-9, abs=1e-12)
    leaves = [column.clone().requires_grad_() for column in columns]
    assert torch.autograd.gradcheck(lambda *parts: TERMS[name](list(parts)), leaves, eps=1e-6, atol=1e-7)


def test_spread_out_is_sentence_transformers_loss(model, pairs):
    inputs = features(model, pairs)
    expected = total(GlobalOrthogonalRegularizationLoss(model)(inputs))
    floats = [model(dict(column))["sentence_embedding"] for column in inputs]
    value = spread_out(floats)
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert torch.allclose(gradient(model, value), gradient(model, expected), atol=1e-7, rtol=1e-4)


@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(2, 24), st.floats(-2, 2), st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=100)
def test_terms_have_their_bounds_and_symmetries(seed, rows, dim, mean, length):
    columns = columns_of(seed, rows, dim, mean)
    for name, term in TERMS.items():
        value = float(term(columns))
        assert -1e-12 <= value <= (2.0 if name == "spread_out" else 1.0)
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
        flipped = [torch.cat([-column[:, :1], column[:, 1:]], dim=1) for column in columns]
        for changed in (
            [length * c for c in columns],
            [c[order] for c in columns],
            [c.flip(1) for c in columns],
            flipped,
        ):
            assert float(term(changed)) == pytest.approx(value, rel=1e-6, abs=1e-9)
    n = 2 * rows
    if dim > n:  # there are no more than n orthogonal columns of n signs, so some bits repeat others in part
        signs = torch.where(soft_bits(columns) > 0, 1.0, -1.0).double()
        assert float(decorrelation(signs)) >= (dim / n - 1) / (dim - 1) - 1e-9


def test_terms_vanish_for_ideal_embeddings_and_are_large_for_the_worst():
    ideal = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    for bits in (ideal, soft_bits([ideal])):
        assert float(balance(bits)) == pytest.approx(0, abs=1e-12)
        assert float(decorrelation(bits)) == pytest.approx(0, abs=1e-12)
    orthonormal = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))[0]
    assert float(spread_out([orthonormal])) == pytest.approx(0, abs=1e-9)
    repeated = torch.ones(6, 8)
    assert float(TERMS["balance"]([repeated])) == pytest.approx(math.tanh(1) ** 2, rel=1e-6)
    assert float(spread_out([repeated])) == pytest.approx(1 + 1 - 1 / 8, rel=1e-6)
    assert float(TERMS["decorrelation"]([repeated])) == pytest.approx(math.tanh(1) ** 4, rel=1e-6)
    repeating = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    assert float(balance(repeating)) == 0
    assert float(decorrelation(repeating)) == 1


@settings(deadline=None, max_examples=30)
@given(arrays.arrays(np.float64, st.tuples(st.integers(2, 9), st.integers(2, 6)), elements=st.floats(-1, 1)))
def test_decorrelation_and_balance_are_their_formulas(codes):
    bits = codes.shape[1]
    products = [np.mean(codes[:, i] * codes[:, j]) ** 2 for i in range(bits) for j in range(bits) if i != j]
    assert decorrelation(torch.from_numpy(codes)).item() == pytest.approx(np.mean(products), abs=1e-12)
    assert balance(torch.from_numpy(codes)).item() == pytest.approx(np.mean(codes.mean(axis=0) ** 2), abs=1e-12)


def test_degenerate_batches_have_finite_values_and_gradients():
    for batch in (torch.zeros(4, 8), torch.ones(1, 8), torch.ones(3, 1), torch.zeros(1, 1)):
        leaf = batch.clone().requires_grad_()
        values = Regularization(**WEIGHTS).terms([leaf])
        sum(weight * value for weight, value in values.values()).backward()
        assert set(values) == set(WEIGHTS)
        assert all(value.isfinite() for _, value in values.values())
        assert leaf.grad.isfinite().all()


def cached(model):
    return CachedMultipleNegativesRankingLoss(model, mini_batch_size=4)


@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
@pytest.mark.parametrize("centring", [None, "learned"])
def test_the_loss_adds_each_weighted_term_and_its_gradient(model, pairs, inner, centring):
    options = {"precisions": ["float32", "binary"], "centring": centring}
    inputs = features(model, pairs)
    results = {}
    for name, weights in {"without": None, "with": WEIGHTS, **{n: {n: w} for n, w in WEIGHTS.items()}}.items():
        loss = QuantizationAwareLoss(model, inner(model), regularization=weights, **options)
        value = loss(inputs, None)
        results[name] = float(total(value).detach()), gradient(model, value), loss
        centre = torch.empty(0) if loss.centring is None else loss.centring.centre.grad
        results[name] = (*results[name], centre)
    floats = [model(dict(column))["sentence_embedding"] for column in inputs]
    if centring is not None:
        centre = torch.cat(floats).detach().mean(dim=0).requires_grad_()
        floats = [torch.nn.functional.normalize(column - centre, dim=1) for column in floats]
    values = {name: weight * TERMS[name](floats) for name, weight in WEIGHTS.items()}
    added = sum(values.values())
    expected = gradient(model, added)
    assert results["with"][0] - results["without"][0] == pytest.approx(float(added.detach()), abs=1e-5)
    scale = float(expected.abs().max())
    assert scale > 0
    assert torch.allclose(results["with"][1] - results["without"][1], expected, atol=1e-3 * scale, rtol=1e-3)
    if centring is not None:
        of_centre = results["with"][3] - results["without"][3]
        assert torch.allclose(of_centre, centre.grad, atol=1e-3 * float(centre.grad.abs().max()))
    for name, value in values.items():
        seen = results["with"][2].diagnostics[name]
        assert seen == pytest.approx(float(value.detach()) / WEIGHTS[name], rel=1e-3, abs=1e-6)
        assert results[name][0] - results["without"][0] == pytest.approx(float(value.detach()), abs=1e-5)


@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
def test_without_weights_the_loss_and_every_gradient_have_the_same_bits(model, pairs, inner, monkeypatch):
    def unwanted(_):
        raise AssertionError("a term without weight was computed")

    monkeypatch.setattr(terms, "REGULARIZATION_TERMS", dict.fromkeys(TERMS, unwanted))
    inputs, results = features(model, pairs), []
    for given_weights in (None, {}, dict.fromkeys(TERMS, 0.0), Regularization()):
        loss = QuantizationAwareLoss(model, inner(model), regularization=given_weights, distillation=0.5)
        value = loss(inputs, None)
        results.append((total(value).detach(), gradient(model, value), sorted(loss.diagnostics)))
    for value, combined, names in results[1:]:
        assert torch.equal(value, results[0][0])
        assert torch.equal(combined, results[0][1])
        assert names == results[0][2]


def test_matryoshka_around_the_loss_regularizes_each_truncation(model, pairs):
    values = []
    for weights in (None, {"balance": 4.0}):
        loss = QuantizationAwareLoss(
            model, MultipleNegativesRankingLoss(model), precisions=["binary"], regularization=weights
        )
        value = MatryoshkaLoss(model, loss, [32, 16], [1.0, 0.5])(features(model, pairs), None)
        values.append(float(total(value).detach()))
    floats = [model(dict(column))["sentence_embedding"].detach() for column in features(model, pairs)]
    expected = sum(
        4.0 * w * float(TERMS["balance"]([column[:, :dim] for column in floats])) for dim, w in ((32, 1), (16, 0.5))
    )
    assert values[1] - values[0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", TERMS)
def test_training_lowers_each_term(model, pairs, name):
    """The embeddings of random weights point in nearly one direction, so each term is large at first."""
    loss = QuantizationAwareLoss(
        model, MultipleNegativesRankingLoss(model), precisions=["float32"], regularization={name: 10.0}
    )
    optimizer, values = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for _ in range(12):
        value = total(loss(features(model, pairs), None))
        values.append(loss.diagnostics[name])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert values[-1] < 0.8 * values[0]


def test_the_card_has_the_weights_and_wrong_ones_are_refused(model):
    inner = MultipleNegativesRankingLoss(model)
    loss = QuantizationAwareLoss(model, inner, regularization={"balance": 0.1})
    assert loss.get_config_dict()["regularization"] == {"spread_out": 0.0, "balance": 0.1, "decorrelation": 0.0}
    assert Regularization.of(Regularization(0.5)).spread_out == 0.5
    with pytest.raises(ValueError, match="unknown regularization 'orthogonal'; valid: spread_out, balance, decorrel"):
        QuantizationAwareLoss(model, inner, regularization={"orthogonal": 1.0})
    for weight in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match="the weight of balance must be ≥ 0"):
            QuantizationAwareLoss(model, inner, regularization={"balance": weight})
    with pytest.raises(ValueError, match="leave regularization and margin_ranking out"):
        QuantizationAwareLoss(model, inner, variant="pr3655", regularization={"balance": 1.0})
