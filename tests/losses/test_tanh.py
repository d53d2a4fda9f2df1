"""The tanh activation: its modules, its fixed grid of int8, and that a trained model stores the codes of its training."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import quantize_embeddings as reference
from torch.nn import functional as F

from qatlab.losses import QuantizationAwareLoss
from qatlab.losses.ranges import MEAN_SQUARE, append_tanh, ends_in_tanh, tanh_range
from qatlab.quantization import Range, dequantize_embeddings, quantize_embeddings

ROWS, DIM = 6, 32


def loaded(tiny_model, normalized=True):
    modules = list(SentenceTransformer(str(tiny_model), device="cpu"))
    return SentenceTransformer(modules=modules if normalized else modules[:2], device="cpu").eval()


def features(model, pairs):
    return [model.preprocess(list(column)) for column in zip(*pairs[:ROWS], strict=True)]


def squashed(x):
    """Return z = t / ‖t‖ with t = tanh(√d · x / ‖x‖), written out."""
    return F.normalize(torch.tanh(math.sqrt(x.shape[1]) * x / x.norm(dim=1, keepdim=True)), dim=1)


def test_the_constant_is_the_mean_square_of_tanh():
    def density(g):
        return math.tanh(g) ** 2 * math.exp(-(g**2) / 2) / math.sqrt(2 * math.pi)

    assert integrate.quad(density, -12, 12)[0] == pytest.approx(MEAN_SQUARE, abs=1e-7)


@pytest.mark.parametrize("normalized", [True, False])
def test_the_saved_model_computes_the_activation_in_ordinary_modules(tiny_model, pairs, tmp_path, normalized):
    texts = [code for _, code in pairs[:ROWS]]
    model = loaded(tiny_model, normalized)
    before = model.encode(texts, convert_to_tensor=True)
    assert not ends_in_tanh(model)
    trained = sum(p.requires_grad for p in model.parameters())
    append_tanh(model)
    assert sum(p.requires_grad for p in model.parameters()) == trained
    assert ends_in_tanh(model)
    count = len(model)
    append_tanh(model)
    assert len(model) == count  # a model that was trained with it before does not get it a second time
    model.save_pretrained(str(tmp_path / "model"))
    saved = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert [type(module).__name__ for module in saved][-3:] == ["Normalize", "Dense", "Normalize"]
    assert all(type(module).__module__.startswith("sentence_transformers.") for module in saved)
    assert ends_in_tanh(saved)
    after = saved.encode(texts, convert_to_tensor=True)
    assert torch.allclose(after, squashed(before), atol=1e-6)
    assert torch.equal(after > 0, before > 0)


def test_other_last_modules_are_not_the_activation(tiny_model):
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize

    for changed in (
        Dense(DIM, DIM, bias=False, activation_function=torch.nn.Tanh(), init_weight=torch.eye(DIM)),
        Dense(DIM, DIM, bias=True, activation_function=torch.nn.Tanh(), init_weight=DIM**0.5 * torch.eye(DIM)),
        Dense(DIM, DIM, bias=False, activation_function=torch.nn.Identity(), init_weight=DIM**0.5 * torch.eye(DIM)),
        Dense(DIM, 16, bias=False, activation_function=torch.nn.Tanh()),
    ):
        model = loaded(tiny_model)
        model.append(changed)
        model.append(Normalize())
        assert not ends_in_tanh(model)
    with pytest.raises(ValueError, match="reports the number of dimensions"):
        append_tanh(torch.nn.Sequential(torch.nn.Linear(2, 2)))


@given(st.integers(0, 2**31), st.integers(2, 96), st.floats(-1, 1))
@settings(deadline=None, max_examples=100)
def test_codes_are_rounded_multiples_and_signs_are_bits(seed, dim, mean):
    generator = np.random.default_rng(seed)
    x = (generator.normal(size=(16, dim)) + mean).astype(np.float32)
    z = squashed(torch.from_numpy(x)).numpy()
    ranges = tanh_range(dim)
    codes = quantize_embeddings(z, "int8", ranges)
    assert codes.dtype == np.int8
    c = math.sqrt(MEAN_SQUARE * dim)
    exact = 127 * c * z.astype(np.float64)
    expected = np.clip(np.floor(exact + 0.5), -128, 127)
    at_border = np.abs(exact + 0.5 - np.round(exact + 0.5)) < 1e-3
    assert np.array_equal(codes[~at_border], expected[~at_border])
    assert np.abs(codes - expected).max() <= 1
    decoded = dequantize_embeddings(codes, "int8", ranges)
    assert np.allclose(decoded, codes / (127 * c), atol=1e-6)
    positive = quantize_embeddings(z, "ubinary")
    assert np.array_equal(positive, np.packbits(x > 0, axis=1))
    assert not ((codes > 0) & (x <= 0)).any()
    assert not ((codes < 0) & (x >= 0)).any()
    in_torch = quantize_embeddings(torch.from_numpy(z), "int8", ranges).numpy()
    assert np.array_equal(in_torch, codes)
    assert np.array_equal(
        reference(z, "int8", ranges=np.stack([ranges.low, ranges.high]))[~at_border], codes[~at_border]
    )


@pytest.mark.parametrize("dim", [384, 1024])
def test_codes_are_those_of_pplx_embed_but_for_the_length_of_a_row(dim):
    """pplx-embed stores round(127 · tanh(x)), and compares codes by their cosine."""
    x = torch.randn(200, dim, generator=torch.Generator().manual_seed(0))
    t = torch.tanh(math.sqrt(dim) * x / x.norm(dim=1, keepdim=True))
    theirs = torch.round(127 * t)
    ours = quantize_embeddings(F.normalize(t, dim=1), "int8", tanh_range(dim)).float()
    lengths = t.norm(dim=1) / math.sqrt(MEAN_SQUARE * dim)
    assert 0.9 < lengths.min() < lengths.max() < 1.1
    inside = (127 * t / lengths.unsqueeze(1)).abs() < 127
    assert inside.float().mean() > 0.99
    assert (ours - theirs / lengths.unsqueeze(1))[inside].abs().max() < 1.1
    cosines = [F.normalize(codes[:100], dim=1) @ F.normalize(codes[100:], dim=1).T for codes in (theirs, ours)]
    assert torch.allclose(*cosines, atol=2e-3)


def test_the_gradient_is_the_straight_through_one_of_tanh(tiny_model, pairs):
    plain, model = loaded(tiny_model), loaded(tiny_model)
    append_tanh(model)
    ranges = tanh_range(DIM)
    loss = QuantizationAwareLoss(
        model, MultipleNegativesRankingLoss(model), precisions=["int8"], ranges={"int8": ranges}
    )
    sum(loss(features(model, pairs), None).values()).backward()
    columns = []
    for column in features(plain, pairs):
        z = squashed(plain(column)["sentence_embedding"])
        codes = torch.floor(127 * math.sqrt(MEAN_SQUARE * DIM) * z + 0.5).clamp(-128, 127)
        columns.append(z + (codes / (127 * math.sqrt(MEAN_SQUARE * DIM)) - z).detach())
    MultipleNegativesRankingLoss(plain).compute_loss_from_embeddings(columns, None).backward()
    expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    combined = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert set(combined) == set(expected)
    for name, value in expected.items():
        assert torch.allclose(combined[name], value, atol=2e-3 * float(value.abs().max()) + 1e-7, rtol=1e-2), name
    assert loss.diagnostics["changed_int8"] > 0.9


def test_the_saved_range_is_that_of_training(tmp_path):
    tanh_range(48).save(tmp_path / "int8.npz")
    saved = Range.load(tmp_path / "int8.npz")
    assert np.array_equal(saved.low, tanh_range(48).low)
    assert np.array_equal(saved.high, tanh_range(48).high)
    assert saved.low.shape == (48,)
