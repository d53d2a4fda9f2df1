"""The pull request's fake quantization, compared with its own code and with the grid of evaluation."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from qatlab.losses import QuantizationAwareLoss
from qatlab.losses.pr3655 import PublishedColumns, fake_quantize_pr3655
from qatlab.quantization import MinMaxRange, fake_quantize
from qatlab.quantization.ranges import RunningRange


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_int8_rounds_to_the_nearest_of_256_levels():
    values = random(20, 4)
    low, step = values.min(0).values, (values.max(0).values - values.min(0).values) / 255
    assert torch.allclose(fake_quantize_pr3655(values, "int8"), ((values - low) / step).round() * step + low)


def test_it_is_not_the_grid_that_evaluation_uses():
    """This is why published results of this training have little relation to the grid of their evaluation."""
    values = random(64, 8)
    ours = fake_quantize(values, "int8", MinMaxRange().fit(values))
    assert (fake_quantize_pr3655(values, "int8") != ours).float().mean() > 0.9


def test_bits_are_plus_and_minus_one_and_zero_counts_as_plus():
    values = torch.tensor([[-0.5, 0.0, 0.5]])
    assert fake_quantize_pr3655(values, "binary").tolist() == [[-1, 1, 1]]
    assert fake_quantize_pr3655(values, "ubinary").tolist() == [[0, 0, 1]]


def test_gradients_pass_and_reach_the_range():
    values = random(20, 4).requires_grad_()
    fake_quantize_pr3655(values, "int8").sum().backward()
    extremes = (values == values.min(0).values) | (values == values.max(0).values)
    assert torch.allclose(values.grad[~extremes], torch.ones(1))
    assert (values.grad[extremes] != 1).any()


def test_as_first_published_a_precision_quantizes_the_output_of_the_one_before():
    columns = [random(20, 4)]
    for variant, source in (("pr3655", fake_quantize_pr3655(columns[0], "int8")), ("pr3655_cache_fixed", columns[0])):
        published = PublishedColumns(columns, variant)
        assert published.at("float32")[0] is columns[0]
        published.at("int8")
        assert torch.equal(published.at("uint8")[0], fake_quantize_pr3655(source, "uint8"))
    shifted = [columns[0] + 1e-3]
    assert not torch.equal(PublishedColumns(shifted, "pr3655").at("ubinary")[0], shifted[0])


@pytest.mark.parametrize("variant", ["pr3655", "pr3655_cache_fixed"])
def test_the_loss_trains_on_it(tiny_model, pairs, variant):
    model = SentenceTransformer(str(tiny_model), device="cpu").eval()
    texts = [model.preprocess(list(column)) for column in zip(*pairs[:6], strict=True)]
    inner = MultipleNegativesRankingLoss(model)
    loss = QuantizationAwareLoss(model, inner, variant=variant)
    components = loss(texts, None)
    columns = [model(dict(column))["sentence_embedding"] for column in texts]
    int8 = [fake_quantize_pr3655(column, "int8") for column in columns]
    binary = [fake_quantize_pr3655(column, "binary") for column in (int8 if variant == "pr3655" else columns)]
    for name, expected in (("float32", columns), ("int8", int8), ("binary", binary)):
        value = inner.compute_loss_from_embeddings(expected, None)
        assert torch.equal(components[name].detach(), value.detach())
    assert loss.get_config_dict()["variant"] == variant


def test_int8_may_use_a_moving_average_as_its_range(tiny_model, pairs):
    """The staged warm-up of the pull request's thread does this."""
    model = SentenceTransformer(str(tiny_model), device="cpu").eval()
    inner = MultipleNegativesRankingLoss(model)
    loss = QuantizationAwareLoss(
        model, inner, precisions=["int8", "binary"], ranges=RunningRange(0.5), variant="pr3655_cache_fixed"
    )
    loss.training = True  # the loss alone: the model's dropout stays off
    low = high = None
    for first in (0, 6):
        texts = [model.preprocess(list(column)) for column in zip(*pairs[first : first + 6], strict=True)]
        columns = [model(dict(column))["sentence_embedding"] for column in texts]
        of_batch = torch.cat(columns).detach().aminmax(dim=0)
        low = of_batch.min if low is None else (low + of_batch.min) / 2
        high = of_batch.max if high is None else (high + of_batch.max) / 2
        step = (high - low) / 255
        expected = [((c - low) / step).round().clamp(0, 255) * step + low for c in columns]
        components = loss(texts, None)
        value = inner.compute_loss_from_embeddings(expected, None)
        assert torch.allclose(components["int8"].detach(), value.detach(), atol=1e-5)
