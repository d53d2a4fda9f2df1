"""The loss: its gradient is exactly the weighted sum of the precisions' own gradients, from one forward pass."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CoSENTLoss,
    CosineSimilarityLoss,
    MultipleNegativesRankingLoss,
    TripletDistanceMetric,
    TripletLoss,
)

from qatlab.losses import QuantizationAwareLoss
from qatlab.quantization import MinMaxRange, fake_quantize
from qatlab.schedules import LinearWarmup


@pytest.fixture
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu").eval()  # no dropout: both ways see the same embeddings


def features(model, pairs, columns):
    texts = [list(column) for column in zip(*pairs[:6], strict=True)]
    texts.append([code for _, code in pairs[6:12]])
    return [model.preprocess(texts[column]) for column in range(columns)]


def gradient(model, value):
    model.zero_grad()
    value.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


class Answering(torch.nn.Module):
    """Stands where a loss expects its model, and answers with given embeddings, one a call."""

    def __init__(self, embeddings):
        super().__init__()
        self.embeddings = iter(list(embeddings))

    def forward(self, _):
        return {"sentence_embedding": next(self.embeddings)}


def cosine_triplet(model):
    """Not the Euclidean default: sentence-transformers' gradient of it is NaN where two texts share all their bits."""
    return TripletLoss(model, distance_metric=TripletDistanceMetric.COSINE)


CASES = [
    (MultipleNegativesRankingLoss, 2, None),
    (CoSENTLoss, 2, torch.tensor([0.1, 0.9, 0.5, 0.3, 0.7, 0.2])),
    (CosineSimilarityLoss, 2, torch.tensor([0.1, 0.9, 0.5, 0.3, 0.7, 0.2])),
    (cosine_triplet, 3, None),
]


@pytest.mark.parametrize(("inner", "columns", "labels"), CASES)
def test_gradient_is_the_weighted_sum_of_separate_backward_passes(model, pairs, inner, columns, labels):
    weights = {"float32": 0.5, "int8": 2.0, "binary": 0.25}
    plain = inner(model)
    loss = QuantizationAwareLoss(model, plain, precisions=list(weights), weights=list(weights.values()))
    combined = gradient(model, sum(loss(features(model, pairs, columns), labels).values()))

    expected = torch.zeros_like(combined)
    for precision, weight in weights.items():
        embeddings = [model(column)["sentence_embedding"] for column in features(model, pairs, columns)]
        ranges = MinMaxRange().fit(torch.cat([e.detach() for e in embeddings]))
        alone = inner(Answering(fake_quantize(e, precision, ranges) for e in embeddings))
        expected += weight * gradient(model, alone([{}] * columns, labels))
    assert torch.allclose(combined, expected, atol=1e-5, rtol=1e-4)


def test_a_precision_without_weight_contributes_nothing(model, pairs):
    alone = QuantizationAwareLoss(model, MultipleNegativesRankingLoss(model), precisions=["int8"])
    beside = QuantizationAwareLoss(
        model, MultipleNegativesRankingLoss(model), precisions=["float32", "int8", "binary"], weights=[0, 1, 0]
    )
    first = gradient(model, sum(alone(features(model, pairs, 2), None).values()))
    second = gradient(model, sum(beside(features(model, pairs, 2), None).values()))
    assert torch.equal(first, second)


def test_the_model_runs_once_per_column_whatever_the_number_of_precisions(model, pairs):
    calls = []
    hook = model[0].register_forward_hook(lambda *_: calls.append(1))
    QuantizationAwareLoss(model, MultipleNegativesRankingLoss(model))(features(model, pairs, 2), None)
    hook.remove()
    assert len(calls) == 2


def test_forward_is_restored_even_after_an_error(model, pairs):
    class Broken(torch.nn.Module):
        def forward(self, *_):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        QuantizationAwareLoss(model, Broken())(features(model, pairs, 2), None)
    assert "forward" not in model.__dict__


def test_schedule_and_liveness_are_reported(model, pairs):
    schedules = [1.0, LinearWarmup(1.0, steps=10), LinearWarmup(0.5, fraction=0.5)]
    loss = QuantizationAwareLoss(model, MultipleNegativesRankingLoss(model), weights=schedules)
    loss.set_progress(5, total_steps=40)
    components = loss(features(model, pairs, 2), None)
    assert list(components) == ["float32", "int8", "binary"]
    assert loss.diagnostics["weight_int8"] == pytest.approx(0.5)
    assert loss.diagnostics["weight_binary"] == pytest.approx(0.125)
    assert loss.diagnostics["changed_binary"] == 1.0
    assert loss.diagnostics["changed_int8"] > 0.9


def test_before_any_warm_up_begins_nothing_is_learned(model, pairs):
    loss = QuantizationAwareLoss(
        model, MultipleNegativesRankingLoss(model), precisions=["int8"], weights=[LinearWarmup(1.0, steps=10)]
    )
    loss.set_progress(0, total_steps=40)
    assert not gradient(model, sum(loss(features(model, pairs, 2), None).values())).any()


def test_wrong_construction_says_what_would_be_right(model):
    inner = MultipleNegativesRankingLoss(model)
    with pytest.raises(ValueError, match="unknown precision 'int7'"):
        QuantizationAwareLoss(model, inner, precisions=["int7"])
    with pytest.raises(ValueError, match="2 precisions need as many weights, not 1"):
        QuantizationAwareLoss(model, inner, precisions=["float32", "int8"], weights=[1.0])
    with pytest.raises(ValueError, match="every weight is 0"):
        QuantizationAwareLoss(model, inner, precisions=["int8"], weights=[0])
    with pytest.raises(ValueError, match="one twice"):
        QuantizationAwareLoss(model, inner, precisions=["int8", "int8"])
    with pytest.raises(ValueError, match="at least one"):
        QuantizationAwareLoss(model, inner, precisions=[])
    with pytest.raises(ValueError, match="≥ 0"):
        QuantizationAwareLoss(model, inner, precisions=["int8"], weights=[-1])
