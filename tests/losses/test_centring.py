"""Centring: the subtracted vector, the stored centre, and the ordinary modules that it becomes in a trained model."""

import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from torch.nn import functional as F

from qatlab.losses import QuantizationAwareCallback, QuantizationAwareLoss
from qatlab.losses.ranges import Centring
from qatlab.quantization import fake_quantize

ROWS = 6


def features(model, pairs):
    return [model.preprocess(list(column)) for column in zip(*pairs[:ROWS], strict=True)]


def embed(model, pairs):
    return [model(dict(column))["sentence_embedding"].detach() for column in features(model, pairs)]


def cached(model):
    return CachedMultipleNegativesRankingLoss(model, mini_batch_size=ROWS)


def total(value):
    return sum(value.values()) if isinstance(value, dict) else value


@pytest.mark.parametrize("kind", ["batch", "running", "learned"])
@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
def test_every_precision_is_computed_on_centred_embeddings(model, pairs, kind, inner):
    loss = QuantizationAwareLoss(
        model, inner(model), precisions=["float32", "binary"], centring=kind, match_scales=False
    )
    total(loss(features(model, pairs), None)).backward()
    columns = embed(model, pairs)
    mean = torch.cat(columns).mean(dim=0)  # all kinds begin with the first batch's
    centred = [F.normalize(column - mean, dim=1) for column in columns]
    for name in ("float32", "binary"):
        quantized = [fake_quantize(column, name) for column in centred]
        expected = MultipleNegativesRankingLoss(model).compute_loss_from_embeddings(quantized, None)
        assert loss.diagnostics[f"loss_{name}"] == pytest.approx(float(expected), rel=1e-4)
    assert torch.allclose(loss.centring.centre, mean, atol=1e-6)
    assert (kind == "learned") == any(p is loss.centring.centre for p in loss.own_parameters())


@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
def test_a_learned_centre_has_the_gradient_of_finite_differences(model, pairs, inner):
    loss = QuantizationAwareLoss(model, inner(model), precisions=["float32"], centring="learned")
    total(loss(features(model, pairs), None)).backward()
    gradient = loss.centring.centre.grad.clone()
    direction, step, values = F.normalize(gradient, dim=0), 1e-3, []
    for shift in (step, -step):
        with torch.no_grad():
            loss.centring.centre += shift * direction
        values.append(float(total(loss(features(model, pairs), None)).detach()))
        with torch.no_grad():
            loss.centring.centre -= shift * direction
    assert float(gradient.norm()) == pytest.approx((values[0] - values[1]) / (2 * step), rel=2e-2)


def test_the_moving_average_changes_only_in_training_and_kind_batch_subtracts_the_batch_mean():
    first, second = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
    for kind in ("batch", "running"):
        centring = Centring(kind, 4, momentum=0.75)
        centring([first], learn=True)
        (centered,) = centring([second], learn=True)
        kept = 0.75 * first.mean(dim=0) + 0.25 * second.mean(dim=0)
        assert torch.allclose(centring.centre, kept, atol=1e-6)
        taken_off = second.mean(dim=0) if kind == "batch" else kept
        assert torch.allclose(centered, second - taken_off, atol=1e-6)
        (evaluated,) = centring([first], learn=False)
        assert torch.allclose(evaluated, first - kept, atol=1e-6)
        other = Centring(kind, 4, momentum=0.75)
        other.load_state_dict(centring.state_dict())
        assert torch.equal(other([second], learn=True)[0], centring([second], learn=True)[0])


@pytest.mark.slow(3)
@pytest.mark.parametrize("kind", ["batch", "running", "learned"])
@pytest.mark.parametrize("normalizes", [True, False])
def test_a_trained_model_contains_the_centring_as_ordinary_modules(tiny_model, pairs, tmp_path, kind, normalizes):
    model = SentenceTransformer(str(tiny_model), device="cpu")
    model = model if normalizes else SentenceTransformer(modules=list(model)[:2], device="cpu")
    loss = QuantizationAwareLoss(model, MultipleNegativesRankingLoss(model), precisions=["binary"], centring=kind)
    centring = loss.centring
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=3, per_device_train_batch_size=16, learning_rate=1e-2,
        save_strategy="no", use_cpu=True, report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(
            {"anchor": [summary for summary, _ in pairs[:64]], "positive": [code for _, code in pairs[:64]]}
        ),
        loss=loss,
        callbacks=[QuantizationAwareCallback(loss)],
    )
    trainer.train()
    assert loss.centring is None
    loss.append_centring(model)  # nothing is left to append
    model.save_pretrained(str(tmp_path / "model"))
    loaded = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    added = ["Dense", "Normalize"] if normalizes else ["Dense"]
    assert [type(module).__name__ for module in loaded][-len(added) :] == added
    assert len(loaded) == len(SentenceTransformer(str(tiny_model))) - (not normalizes) + len(added)
    assert all(type(module).__module__.startswith("sentence_transformers.") for module in loaded)

    texts = [code for _, code in pairs[:ROWS]]
    without = SentenceTransformer(modules=list(loaded)[: -len(added)], device="cpu")
    expected = without.encode(texts, convert_to_tensor=True) - centring.centre.detach()
    expected = F.normalize(expected, dim=1) if normalizes else expected
    assert torch.allclose(loaded.encode(texts, convert_to_tensor=True), expected, atol=1e-6)
    assert centring.centre.detach().norm() > 0


def test_unsupported_centring_is_refused(model, pairs):
    with pytest.raises(ValueError, match="unknown centring 'mean'; valid: batch, running, learned"):
        Centring("mean", 4)
    with pytest.raises(ValueError, match="from 0 to below 1, not 1"):
        Centring("running", 4, momentum=1)
    with pytest.raises(ValueError, match="reports the number of dimensions"):
        Centring("running", None)
    inner = QuantizationAwareLoss(model, MultipleNegativesRankingLoss(model), precisions=["binary"], centring="running")
    with pytest.raises(ValueError, match="put MatryoshkaLoss inside QuantizationAwareLoss"):
        MatryoshkaLoss(model, inner, [32, 16])(features(model, pairs), None)
