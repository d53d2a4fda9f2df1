"""The loss's gradient is exactly the weighted sum of the precisions' own gradients, from one forward pass."""

import json
import math

import pytest
import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedGISTEmbedLoss,
    CachedMultipleNegativesRankingLoss,
    ContrastiveTensionLoss,
    CoSENTLoss,
    CosineSimilarityLoss,
    MarginMSELoss,
    Matryoshka2dLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    TripletLoss,
)

from qatlab.losses import QuantizationAwareLoss
from qatlab.losses.terms import WeightSchedule, similarity_divergence
from qatlab.quantization import (
    FixedRange,
    LearnedStep,
    MinMaxRange,
    PercentileRange,
    QuantileRange,
    RunningQuantileRange,
    RunningRange,
    Tanh,
    fake_quantize,
)

ROWS, MINI_BATCH = 6, 4
WEIGHTS = {"float32": 0.5, "int8": 2.0, "binary": 0.25, "float32_x_binary": 0.75}


@pytest.fixture
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu").eval()  # no dropout: both ways see the same embeddings


def features(model, pairs, columns):
    texts = [list(column) for column in zip(*pairs[:ROWS], strict=True)]
    texts.append([code for _, code in pairs[ROWS : 2 * ROWS]])
    return [model.preprocess(texts[column]) for column in range(columns)]


def total(value):
    return sum(value.values()) if isinstance(value, dict) else value


def gradient(model, value):
    model.zero_grad()
    total(value).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def embed(model, columns, at_once=ROWS):
    """Embed columns in mini-batches of `at_once` rows, padded to their longest text, as Cached losses do.

    The last digit of an embedding depends on both, and so does the cell of a value at a border.
    """

    def rows(column, first):
        some = slice(first, first + at_once)
        longest = int(column["attention_mask"][some].sum(dim=1).max())
        return {k: v[some, :longest] if torch.is_tensor(v) else v for k, v in column.items()}

    return [
        torch.cat([model(rows(column, first))["sentence_embedding"] for first in range(0, ROWS, at_once)])
        for column in columns
    ]


class Quantizing(torch.nn.Module):
    """A model that quantizes its outputs: the oracle, with one complete forward and backward pass per precision.

    The first column of its features contains the queries.
    """

    def __init__(self, model, columns, name, ranges=None, at_once=ROWS):
        super().__init__()
        self.model = model
        self.query, _, document = name.partition("_x_")
        self.document = document or self.query
        self.queries = columns[0]["input_ids"]
        every = torch.cat([e.detach() for e in embed(model, columns, at_once)])
        self.ranges = ranges or MinMaxRange().fit(every)
        self.of_codes = every.square().mean().sqrt()  # the root mean square of lengths, over the √d of codes

    def forward(self, batch):
        is_query = any(torch.equal(batch["input_ids"][0, :5], row[:5]) for row in self.queries)
        precision = self.query if is_query else self.document
        output = self.model(dict(batch))
        values = fake_quantize(output["sentence_embedding"], precision, self.ranges)
        values = values * self.of_codes if precision == "binary" else values
        return {**output, "sentence_embedding": values}

    def get_embedding_dimension(self):
        return self.model.get_embedding_dimension()

    def __getitem__(self, index):
        return self.model[index]


def cached(model):
    return CachedMultipleNegativesRankingLoss(model, mini_batch_size=MINI_BATCH)


def matryoshka(model):
    return MatryoshkaLoss(model, MultipleNegativesRankingLoss(model), [32, 16, 8], [1.0, 0.5, 0.25])


def cached_matryoshka(model):
    return MatryoshkaLoss(model, cached(model), [32, 16], [1.0, 0.5])


def triplet(model):
    """Distance with a gradient between texts that share all bits, where that of sentence-transformers has none."""
    if isinstance(model, Quantizing):
        return TripletLoss(model, distance_metric=lambda a, b: torch.linalg.vector_norm(a - b, dim=1))
    return TripletLoss(model)


SCORES = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.7, 0.2])
CASES = [
    (MultipleNegativesRankingLoss, 2, None),
    (MultipleNegativesRankingLoss, 3, None),
    (cached, 2, None),
    (cached, 3, None),
    (CoSENTLoss, 2, SCORES),
    (CosineSimilarityLoss, 2, SCORES),
    (triplet, 3, None),
    (MarginMSELoss, 3, SCORES),
    (matryoshka, 2, None),
    (cached_matryoshka, 2, None),
]


@pytest.mark.parametrize(("inner", "columns", "labels"), CASES)
def test_gradient_is_the_weighted_sum_of_separate_backward_passes(model, pairs, inner, columns, labels):
    loss = QuantizationAwareLoss(
        model, inner(model), precisions=list(WEIGHTS), weights=list(WEIGHTS.values()), match_scales=False
    )
    value = loss(features(model, pairs, columns), labels)
    combined, value = gradient(model, value), float(total(value).detach())

    expected, expected_value = torch.zeros_like(combined), 0.0
    for name, weight in WEIGHTS.items():
        texts = features(model, pairs, columns)
        at_once = MINI_BATCH if inner in (cached, cached_matryoshka) else ROWS
        alone = inner(Quantizing(model, texts, name, at_once=at_once))(texts, labels)
        expected_value += weight * float(alone.detach())
        expected += weight * gradient(model, alone)
    assert expected.norm() > 0
    assert value == pytest.approx(expected_value, rel=1e-4)
    assert torch.allclose(combined, expected, atol=1e-5 * float(expected.abs().max()) + 1e-6, rtol=1e-3)


def test_matryoshka_around_it_truncates_before_quantizing(model, pairs):
    inner = MultipleNegativesRankingLoss(model)
    weights, dims = {"int8": 1.0, "binary": 0.5}, {32: 1.0, 16: 0.5}
    aware = QuantizationAwareLoss(
        model, inner, precisions=list(weights), weights=list(weights.values()), match_scales=False
    )
    outer = MatryoshkaLoss(model, aware, list(dims), list(dims.values()))
    combined = gradient(model, outer(features(model, pairs, 2), None))
    assert model.forward.__func__ is SentenceTransformer.forward

    expected = torch.zeros_like(combined)
    for dim, dim_weight in dims.items():
        for precision, weight in weights.items():
            columns = embed(model, features(model, pairs, 2))
            columns = [torch.nn.functional.normalize(column[:, :dim], dim=1) for column in columns]
            ranges = MinMaxRange().fit(torch.cat([column.detach() for column in columns]))
            quantized = [fake_quantize(column, precision, ranges) for column in columns]
            alone = inner.compute_loss_from_embeddings(quantized, None)
            expected += dim_weight * weight * gradient(model, alone)
    assert torch.allclose(combined, expected, atol=1e-5, rtol=1e-3)


def test_matryoshka_around_it_with_a_cached_loss_is_the_same_as_without_a_cache(model, pairs):
    gradients = []
    for inner in (cached(model), MultipleNegativesRankingLoss(model)):
        aware = QuantizationAwareLoss(model, inner, precisions=["int8", "float32"], weights=[1.0, 0.5])
        outer = MatryoshkaLoss(model, aware, [32, 16], [1.0, 0.5])
        gradients.append(gradient(model, outer(features(model, pairs, 2), None)))
    assert torch.allclose(*gradients, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
def test_a_precision_without_weight_contributes_nothing(model, pairs, inner):
    alone = QuantizationAwareLoss(model, inner(model), precisions=["int8"])
    beside = QuantizationAwareLoss(model, inner(model), precisions=["float32", "int8", "binary"], weights=[0, 1, 0])
    first = gradient(model, alone(features(model, pairs, 2), None))
    second = gradient(model, beside(features(model, pairs, 2), None))
    assert torch.equal(first, second)


@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
def test_before_any_warm_up_begins_nothing_is_learned(model, pairs, inner):
    loss = QuantizationAwareLoss(
        model, inner(model), precisions=["int8"], weights=[WeightSchedule(1.0, warmup_steps=10)]
    )
    loss.set_progress(0, total_steps=40)
    assert not gradient(model, loss(features(model, pairs, 2), None)).any()


def test_the_model_runs_once_per_column_whatever_the_number_of_precisions(model, pairs):
    calls = []
    hook = model[0].register_forward_hook(lambda *_: calls.append(1))
    QuantizationAwareLoss(model, MultipleNegativesRankingLoss(model))(features(model, pairs, 2), None)
    hook.remove()
    assert len(calls) == 2


def test_a_cached_loss_runs_the_model_as_often_as_alone(model, pairs):
    counts = []
    for loss in (cached(model), QuantizationAwareLoss(model, cached(model))):
        calls = []
        hook = model[0].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        gradient(model, loss(features(model, pairs, 2), None))
        hook.remove()
        counts.append(len(calls))
    assert counts[0] == counts[1] == 8  # two mini-batches a column, two passes


def test_nothing_is_left_behind_even_after_an_error(model, pairs):
    class Broken(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, *_):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        QuantizationAwareLoss(model, Broken(model))(features(model, pairs, 2), None)
    assert "forward" not in model.__dict__
    inner = cached(model)
    gradient(model, QuantizationAwareLoss(model, inner)(features(model, pairs, 2), None))
    assert "calculate_loss" not in inner.__dict__


def test_evaluation_without_gradients_gives_the_same_value(model, pairs):
    for inner in (MultipleNegativesRankingLoss, cached):
        loss = QuantizationAwareLoss(model, inner(model))
        trained = float(total(loss(features(model, pairs, 2), None)).detach())
        with torch.no_grad():
            assert float(total(loss(features(model, pairs, 2), None))) == pytest.approx(trained, rel=1e-5)


@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
def test_weights_losses_and_shares_of_changed_values_are_reported(model, pairs, inner):
    schedules = [1.0, WeightSchedule(1.0, warmup_steps=10), WeightSchedule(0.5, warmup_fraction=0.5)]
    loss = QuantizationAwareLoss(model, inner(model), weights=schedules)
    loss.set_progress(5, total_steps=40)
    value = total(loss(features(model, pairs, 2), None))
    seen = loss.diagnostics
    assert seen["weight_int8"] == pytest.approx(0.5)
    assert seen["weight_binary"] == pytest.approx(0.125)
    assert seen["changed_binary"] == 1.0
    assert seen["changed_int8"] > 0.9
    parts = sum(seen[f"weight_{name}"] * seen[f"loss_{name}"] for name in ("float32", "int8", "binary"))
    assert float(value.detach()) == pytest.approx(parts, rel=1e-5)


def test_components_are_named_for_the_trainers_log(model, pairs):
    loss = QuantizationAwareLoss(
        model, MultipleNegativesRankingLoss(model), precisions=["float32", ("float32", "binary"), "int4_x_binary"]
    )
    assert list(loss(features(model, pairs, 2), None)) == ["float32", "float32_x_binary", "int4_x_binary"]


@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
def test_a_fixed_scale_is_the_wrapped_losss_scale(model, pairs, inner):
    other = inner(model)
    other.scale = 5.0
    scaled = QuantizationAwareLoss(model, inner(model), precisions=["binary"], scales={"binary": 5.0})
    plain = QuantizationAwareLoss(model, other, precisions=["binary"], match_scales=False)
    first, second = (gradient(model, loss(features(model, pairs, 2), None)) for loss in (scaled, plain))
    assert torch.equal(first, second)
    assert scaled.loss.scale == 20.0


@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
def test_a_learned_scale_has_the_gradient_of_finite_differences(model, pairs, inner):
    weight = 0.5
    loss = QuantizationAwareLoss(
        model, inner(model), precisions=["float32", "binary"], weights=[1.0, weight], learned_scales=["binary"]
    )
    (total(loss(features(model, pairs, 2), None)) / 2).backward()  # as gradient accumulation divides
    assert loss.diagnostics["scale_binary"] == pytest.approx(20.0 * math.pi / 2, rel=1e-4)
    step = 1e-2
    values = []
    for shift in (step, -step):
        with torch.no_grad():
            loss.log_scales["binary"] += shift
            values.append(float(total(loss(features(model, pairs, 2), None))))
            loss.log_scales["binary"] -= shift
    expected = (values[0] - values[1]) / (2 * step) / 2
    assert float(loss.log_scales["binary"].grad) == pytest.approx(expected, rel=1e-2)


def test_learned_parameters_have_the_same_gradient_with_a_cached_loss(model, pairs):
    gradients = []
    embeddings = torch.cat([e.detach() for e in embed(model, features(model, pairs, 2))])
    for inner in (MultipleNegativesRankingLoss, cached):
        loss = QuantizationAwareLoss(
            model,
            inner(model),
            precisions=["int8", "binary"],
            weights=[2.0, 1.0],
            ranges=LearnedStep(32).fit(embeddings),
            estimator="lsq",
            learned_scales=["int8"],
            distillation=0.5,
        )
        gradient(model, loss(features(model, pairs, 2), None))
        gradients.append(torch.cat([loss.ranges.learned["int8"].step.grad, loss.log_scales["int8"].grad[None]]))
    assert gradients[0].abs().min() > 0
    assert torch.allclose(*gradients, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
def test_distillation_adds_the_divergence_from_the_float_similarities(model, pairs, inner):
    with_it = QuantizationAwareLoss(model, inner(model), precisions=["binary"], weights=[0.5], distillation=2.0)
    without = QuantizationAwareLoss(model, inner(model), precisions=["binary"], weights=[0.5])
    first = gradient(model, with_it(features(model, pairs, 2), None))
    second = gradient(model, without(features(model, pairs, 2), None))
    floats = embed(model, features(model, pairs, 2))
    bits = [fake_quantize(e, "binary") for e in floats]
    divergence = similarity_divergence(bits, floats, 20.0, quantized_scale=20.0 * math.pi / 2)
    assert with_it.diagnostics["distillation_binary"] == pytest.approx(float(divergence.detach()), rel=1e-5)
    expected = second + 0.5 * 2.0 * gradient(model, divergence)
    assert torch.allclose(first, expected, atol=1e-5, rtol=1e-3)


def test_float_similarities_are_their_own_teacher(model, pairs):
    floats = embed(model, features(model, pairs, 2))
    assert float(similarity_divergence(floats, floats, 20.0).detach()) == pytest.approx(0, abs=1e-6)


def test_a_running_range_learns_in_training_only_and_then_freezes(model, pairs):
    ranges = RunningRange(momentum=0.5)
    loss = QuantizationAwareLoss(model, MultipleNegativesRankingLoss(model), precisions=["int8"], ranges=ranges)
    loss.train()
    model.eval()
    loss(features(model, pairs, 2), None)
    first = ranges.low.clone()
    batch = MinMaxRange().fit(torch.cat([e.detach() for e in embed(model, features(model, pairs, 2))]))
    assert torch.equal(first, batch.low)
    loss(features(model, pairs[20:], 2), None)
    assert not torch.equal(ranges.low, first)
    second = ranges.low.clone()
    loss.eval()
    loss(features(model, pairs[40:], 2), None)
    assert torch.equal(ranges.low, second)
    assert loss.ranges.lasting() == {"int8": ranges}
    loss.ranges.freeze()
    loss.train()
    loss(features(model, pairs[40:], 2), None)
    assert torch.equal(ranges.low, second)


@pytest.mark.parametrize("precision", ["int2_quantile", "ternary"])
@pytest.mark.parametrize("inner", [MultipleNegativesRankingLoss, cached])
def test_quantiles_of_a_batch_are_those_of_both_columns_together(model, pairs, precision, inner):
    columns = features(model, pairs, 2)
    at_once = MINI_BATCH if inner is cached else ROWS
    floats = [e.detach() for e in embed(model, columns, at_once)]
    loss = QuantizationAwareLoss(model, inner(model), precisions=[precision])
    gradients = [gradient(model, loss(columns, None))]
    for ranges in (QuantileRange().fit(torch.cat(floats)), QuantileRange().fit(floats[0])):
        oracle = inner(Quantizing(model, columns, precision, ranges, at_once))
        gradients.append(gradient(model, oracle(columns, None)))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)
    assert not torch.allclose(gradients[0], gradients[2], atol=1e-6, rtol=1e-4)
    medians = 4 if precision == "int2_quantile" else 3  # unchanged values of the twelve in each dimension
    assert loss.diagnostics[f"changed_{precision}"] == pytest.approx(1 - medians / (2 * ROWS))


def test_running_quantiles_learn_in_training_and_are_restored(model, pairs):
    def build():
        ranges = {"int8": RunningRange(0.5), **dict.fromkeys(("int2_quantile", "ternary"), RunningQuantileRange(0.5))}
        inner = MultipleNegativesRankingLoss(model)
        return QuantizationAwareLoss(
            model, inner, precisions=["int2_quantile", "ternary", "int8"], ranges=ranges
        ).train()

    loss, fitted = build(), []
    model.eval()
    for first in (0, 20):
        floats = torch.cat([e.detach() for e in embed(model, features(model, pairs[first:], 2))])
        fitted.append(QuantileRange().fit(floats).quantiles)
        loss(features(model, pairs[first:], 2), None)
    lasting = loss.ranges.lasting()
    assert lasting["ternary"] is lasting["int2_quantile"]
    assert torch.equal(lasting["ternary"].quantiles, 0.5 * fitted[0] + 0.5 * fitted[1])
    assert torch.equal(lasting["int8"].low, lasting["ternary"].low)
    other = build()
    assert len(other.ranges.get_extra_state()) == 0
    other.load_state_dict(loss.state_dict())
    for precision, ranges in other.ranges.lasting().items():
        assert torch.equal(ranges.statistics, lasting[precision].statistics)
    loss.ranges.freeze()
    loss(features(model, pairs[40:], 2), None)
    assert torch.equal(lasting["ternary"].quantiles, 0.5 * fitted[0] + 0.5 * fitted[1])


def test_training_lowers_the_loss_at_two_bits_and_at_three_values(model, pairs):
    precisions = ["int2", "int2_quantile", "ternary"]
    loss = QuantizationAwareLoss(model, MultipleNegativesRankingLoss(model), precisions=precisions)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    values = []
    for _ in range(8):
        components = loss(features(model, pairs, 2), None)
        values.append({name: value.item() for name, value in components.items()})
        optimizer.zero_grad()
        total(components).backward()
        optimizer.step()
    for precision in precisions:
        assert values[-1][precision] < 0.8 * values[0][precision]


def test_annealed_tanh_follows_the_step(model, pairs):
    loss = QuantizationAwareLoss(
        model,
        MultipleNegativesRankingLoss(model),
        precisions=["binary"],
        estimator=Tanh(gamma=0.1, scale=1.0),
        match_scales=False,
    )
    loss.set_progress(30, 100)
    value = total(loss(features(model, pairs, 2), None))
    columns = [torch.tanh(2.0 * e) for e in embed(model, features(model, pairs, 2))]  # √(0.1 · 30 + 1) = 2
    expected = MultipleNegativesRankingLoss(model).compute_loss_from_embeddings(columns, None)
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_texts_that_share_all_bits_have_a_gradient_under_euclidean_distance(model, pairs):
    """sentence-transformers' own gradient of the distance of two equal vectors was 0 / 0 before its release 6."""
    texts = features(model, pairs, 2)
    columns = [texts[0], texts[0], texts[1]]
    plain = TripletLoss(Quantizing(model, columns, "binary"))
    undefined = gradient(model, plain([dict(c) for c in columns], None)).isnan().any()
    assert undefined == (int(sentence_transformers.__version__.partition(".")[0]) < 6)
    aware = QuantizationAwareLoss(model, TripletLoss(model), precisions=["binary"])
    combined = gradient(model, aware([dict(c) for c in columns], None))
    # The first column is equal to the second and not to the third: the distance to that one still counts.
    expected = gradient(model, triplet(Quantizing(model, columns, "binary"))([dict(c) for c in columns], None))
    assert expected.norm() > 0
    assert torch.allclose(combined, expected, atol=1e-5 * float(expected.abs().max()) + 1e-6, rtol=1e-3)


def test_under_bf16_autocast_the_gradient_is_that_of_the_parts(model, pairs):
    """Embeddings are in bfloat16 too: Transformers' trainer converts them to float32, but a plain autocast does not."""
    loss = QuantizationAwareLoss(
        model, MultipleNegativesRankingLoss(model), precisions=["float32", "int8", "binary"], match_scales=False
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        combined = gradient(model, loss(features(model, pairs, 2), None))
        expected = torch.zeros_like(combined)
        for precision in loss.sides:
            texts = features(model, pairs, 2)
            alone = MultipleNegativesRankingLoss(Quantizing(model, texts, precision))(texts, None)
            expected += gradient(model, alone)
    assert combined.isfinite().all()
    cosine = torch.nn.functional.cosine_similarity(combined, expected, dim=0)
    assert cosine > 0.999
    assert loss.diagnostics["changed_int8"] > 0.9


@pytest.mark.slow(6)
def test_it_works_on_a_compiled_model_with_live_quantizers(model, pairs):
    compiled = torch.compile(model, backend="eager")
    loss = QuantizationAwareLoss(model, MultipleNegativesRankingLoss(model))
    expected = gradient(model, loss(features(model, pairs, 2), None))
    loss.model = loss.loss.model = compiled  # as the trainer does
    compiled_gradient = gradient(model, loss(features(model, pairs, 2), None))
    assert torch.allclose(compiled_gradient, expected, atol=1e-5, rtol=1e-3)
    assert loss.diagnostics["changed_int8"] > 0.9
    assert loss.diagnostics["changed_binary"] == 1


def test_model_card_and_citation(model):
    loss = QuantizationAwareLoss(
        model,
        MultipleNegativesRankingLoss(model),
        precisions=["float32", "int8"],
        weights=[1, WeightSchedule(0.5, warmup_steps=3)],
        ranges=FixedRange(0.18),
        learned_scales=["int8"],
    )
    config = json.loads(json.dumps(loss.get_config_dict()))
    assert config["loss"] == "MultipleNegativesRankingLoss"
    assert config["precisions"] == ["float32", "int8"]
    assert config["weights"] == [1.0, 0.5]
    assert config["ranges"] == {"int8": "FixedRange"}
    assert config["scales"] == {"int8": "learned"}
    assert loss.citation.strip().startswith("@misc{")


def test_invalid_arguments_raise_errors_with_the_remedy(model):
    inner = MultipleNegativesRankingLoss(model)
    unfitted, narrow = PercentileRange(), MinMaxRange().fit(torch.randn(4, 16))
    wrong = [
        ({"precisions": ["int7"]}, "unknown precision 'int7'; valid: float32"),
        ({"precisions": ["float32_x_int7"]}, "unknown precision 'int7'"),
        ({"precisions": []}, "at least one"),
        ({"precisions": "int8"}, "must be a list"),
        ({"precisions": ["int8", ("int8", "int8")]}, "an entry twice"),
        ({"precisions": ["float32", "int8"], "weights": [1.0]}, "2 precisions need as many weights, not 1"),
        ({"precisions": ["int8"], "weights": [0]}, "every weight is 0"),
        ({"precisions": ["int8"], "weights": [-1]}, "≥ 0"),
        ({"ranges": unfitted}, "PercentileRange is not fitted yet; call .fit"),
        ({"ranges": narrow}, "fitted on 16 dimensions, the embeddings have 32"),
        ({"ranges": LearnedStep(32)}, "LearnedStep is not fitted"),
        ({"ranges": "corpus"}, "unknown ranges 'corpus'; give 'batch'"),
        ({"ranges": {"binary": FixedRange()}}, "not for 'binary'"),
        ({"precisions": ["ternary"], "ranges": FixedRange()}, r"give it ranges=QuantileRange\(\).*, not a FixedRange"),
        (
            {"precisions": ["int8", "ternary"], "ranges": RunningQuantileRange()},
            "int8 have equal widths; .*, not a RunningQuantileRange",
        ),
        ({"precisions": ["ternary"], "ranges": QuantileRange()}, "QuantileRange is not fitted yet"),
        ({"estimator": "sign"}, "unknown estimator 'sign'"),
        ({"estimator": "lsq"}, "needs ranges=LearnedStep"),
        ({"scales": {"int4": 10.0}}, "'int4', which is not among the precisions"),
        ({"scales": {"int8": 0}}, "scale of int8 must be above 0"),
        ({"distillation": -1}, "distillation must be ≥ 0"),
        ({"centring": "median"}, "unknown centring 'median'; valid: batch, running, learned"),
        ({"diagnose_every": -1}, "diagnose_every must be ≥ 0"),
        ({"variant": "pr3655", "centring": "batch"}, "does not support centring"),
        ({"variant": "pr1"}, "unknown variant 'pr1'; valid: pr3655"),
        ({"variant": "pr3655", "precisions": ["int4"]}, "variant 'pr3655' supports float32"),
        ({"variant": "pr3655", "ranges": FixedRange()}, "supports only batch ranges and RunningRange"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            QuantizationAwareLoss(model, inner, **options)
    with pytest.raises(ValueError, match="CosineSimilarityLoss has no scale"):
        QuantizationAwareLoss(model, CosineSimilarityLoss(model), scales={"int8": 10.0})
    with pytest.raises(ValueError, match="which has no gradient cache"):
        QuantizationAwareLoss(model, cached(model), variant="pr3655")


def test_int4_with_an_odd_dimension_is_refused(tiny_model):
    model = SentenceTransformer(str(tiny_model), device="cpu", truncate_dim=31)
    with pytest.raises(ValueError, match=r"int4 packs two dimensions .* 31 dimensions"):
        QuantizationAwareLoss(model, MultipleNegativesRankingLoss(model), precisions=["int4"])


def test_losses_that_need_more_than_embeddings_are_refused(model, tiny_model):
    other = SentenceTransformer(str(tiny_model), device="cpu")
    wrong = [
        (torch.nn.CrossEntropyLoss(), "no model to embed texts with"),
        ("mnrl", "not str"),
        (ContrastiveTensionLoss(model), "trains a copy of the model"),
        (Matryoshka2dLoss(model, MultipleNegativesRankingLoss(model), [32, 16]), "embeddings of every layer"),
    ]
    for loss, message in wrong:
        with pytest.raises(TypeError, match=message):
            QuantizationAwareLoss(model, loss)
    with pytest.raises(ValueError, match="another model"):
        QuantizationAwareLoss(model, MultipleNegativesRankingLoss(other))


def test_a_cached_loss_with_a_guide_model(model, tiny_model, pairs):
    guide = SentenceTransformer(str(tiny_model), device="cpu").eval()
    loss = QuantizationAwareLoss(model, CachedGISTEmbedLoss(model, guide, mini_batch_size=4), precisions=["int8"])
    assert gradient(model, loss(features(model, pairs, 2), None)).norm() > 0
    assert loss.diagnostics["changed_int8"] > 0.9


def test_a_schedule_without_progress_raises_an_error(model, pairs):
    for options in ({"weights": [WeightSchedule(1.0, warmup_steps=3)]}, {"estimator": Tanh()}):
        loss = QuantizationAwareLoss(model, MultipleNegativesRankingLoss(model), precisions=["binary"], **options)
        with pytest.raises(ValueError, match=r"callbacks=\[QuantizationAwareCallback\(loss\)\]"):
            loss(features(model, pairs, 2), None)
        loss.set_progress(3, 10)
        loss(features(model, pairs, 2), None)
