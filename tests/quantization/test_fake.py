"""Fake quantization: the forward pass has the grid of evaluation, and gradients have the closed form of each estimator."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qatlab.quantization import (
    PRECISIONS,
    Clipped,
    FixedRange,
    LearnedStep,
    LearnedStepSize,
    MinMaxRange,
    QuantileRange,
    Tanh,
    dequantize_embeddings,
    fake_quantize,
    quantize_embeddings,
)
from qatlab.quantization.precisions import QUANTILE, UNIFORM


def fitted(values, precision):
    return (QuantileRange() if precision in QUANTILE else MinMaxRange()).fit(values)


def random(*shape, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * scale


def gradient(values, upstream, *arguments, **options):
    values = values.clone().requires_grad_()
    fake_quantize(values, *arguments, **options).backward(upstream)
    return values.grad


def of_bits(values):
    """Return √d / ‖x‖, because the codes of x round its direction at length √d."""
    return values.shape[1] ** 0.5 / values.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_identity_passes_the_gradient_unchanged_but_for_the_length_of_bits(precision):
    values, upstream = random(16, 24), random(16, 24, scale=3)
    expected = upstream * of_bits(values) if "binary" in precision else upstream
    assert torch.allclose(gradient(values, upstream, precision, fitted(values, precision)), expected, rtol=1e-6, atol=0)


@given(st.floats(1e-4, 1e4), st.integers(0, 2**31))
@settings(deadline=None, max_examples=50)
def test_a_cosines_gradient_at_bits_falls_with_the_length_as_the_float_ones_does(length, seed):
    """Bits of 2x are those of x, so functions of the bits change half as fast with 2x."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, 8, 24, generator=generator)

    def slope(scale, precision):
        values = (x * scale).requires_grad_()
        codes = fake_quantize(values, precision)
        torch.nn.functional.cosine_similarity(codes, fake_quantize(y, precision)).sum().backward()
        return values.grad

    for precision in ("float32", "binary", "ubinary"):
        assert torch.allclose(slope(length, precision) * length, slope(1.0, precision), rtol=1e-3, atol=1e-5)
    ratio = slope(length, "binary").norm() / slope(length, "float32").norm()
    assert 0.5 < ratio < 2


def test_bits_of_a_row_of_zeros_pass_the_gradient_unchanged():
    values, upstream = torch.zeros(2, 8), random(2, 8)
    values[1, 0] = 1e-30
    passed = gradient(values, upstream, "binary")
    assert torch.equal(passed[0], upstream[0])
    assert passed.isfinite().all()


@pytest.mark.parametrize("precision", UNIFORM)
def test_clipped_stops_the_gradient_outside_the_range(precision):
    values, upstream = random(16, 24), random(16, 24, scale=3)
    expected = upstream * (values.abs() <= 0.5)
    assert torch.equal(gradient(values, upstream, precision, FixedRange(0.5), estimator="clipped"), expected)


@pytest.mark.parametrize("precision", QUANTILE)
def test_between_quantiles_clipped_stops_the_gradient_outside_the_fitted_extremes(precision):
    values, upstream = random(64, 24), random(64, 24, scale=3)
    ranges = QuantileRange().fit(values[:16])
    low, high = values[:16].amin(dim=0), values[:16].amax(dim=0)
    inside = (values >= low) & (values <= high)
    assert 0.5 < inside.float().mean() < 1
    assert torch.equal(gradient(values, upstream, precision, ranges, estimator="clipped"), upstream * inside)
    expected = dequantize_embeddings(quantize_embeddings(values, precision, ranges), precision, ranges, dim=24)
    for estimator in ("identity", "clipped", "tanh", "lsq"):
        assert torch.equal(fake_quantize(values, precision, ranges, estimator), expected)


@pytest.mark.parametrize("precision", QUANTILE)
@pytest.mark.parametrize("estimator", [Tanh(), LearnedStepSize()])
def test_precisions_without_step_or_sign_use_the_straight_through_gradient(precision, estimator):
    values, upstream = random(16, 24), random(16, 24, scale=3)
    assert torch.equal(gradient(values, upstream, precision, fitted(values, precision), estimator=estimator), upstream)


def test_clipped_stops_a_bits_gradient_outside_its_limit():
    values, upstream = random(16, 24), random(16, 24, scale=3)
    expected = upstream * of_bits(values) * (values.abs() <= 0.3)
    assert torch.allclose(gradient(values, upstream, "binary", estimator=Clipped(0.3)), expected, rtol=1e-6, atol=0)


def test_tanh_is_bprs_forward_and_backward_and_tends_to_the_sign():
    values, upstream = random(16, 24), random(16, 24, scale=3)
    for step in (0, 30, 2000):
        estimator = Tanh(gamma=0.1, scale=1.0).at(step)
        sharpness = (0.1 * step + 1) ** 0.5
        assert estimator.sharpness == pytest.approx(sharpness)
        forward = fake_quantize(values, "binary", estimator=estimator)
        assert torch.allclose(forward, torch.tanh(sharpness * values))
        expected = upstream * sharpness * (1 - torch.tanh(sharpness * values) ** 2)
        assert torch.allclose(gradient(values, upstream, "binary", estimator=estimator), expected, atol=1e-6)
    for scale in (1.0, None):
        far = Tanh(gamma=0.1, scale=scale).at(10**13)
        assert torch.allclose(fake_quantize(values, "binary", estimator=far), values.sign(), atol=1e-2)


@given(st.floats(1e-6, 1e6), st.integers(0, 2**31), st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_tanh_scales_each_row_to_the_length_of_codes(length, seed, step):
    """Its values depend on the direction alone, and its gradient is that of the whole function, orthogonal to x."""
    generator = torch.Generator().manual_seed(seed)
    values, upstream = torch.randn(2, 8, 24, generator=generator)
    values = values * length
    estimator, beta = Tanh(gamma=0.1).at(step), (0.1 * step + 1) ** 0.5
    unit = values / values.norm(dim=1, keepdim=True)
    expected = torch.tanh(beta * 24**0.5 * unit)
    assert torch.allclose(fake_quantize(values, "binary", estimator=estimator), expected, atol=1e-5)
    at_unit = upstream * beta * 24**0.5 * (1 - expected**2)
    closed = (at_unit - unit * (unit * at_unit).sum(dim=1, keepdim=True)) / values.norm(dim=1, keepdim=True)
    passed = gradient(values, upstream, "binary", estimator=estimator)
    assert torch.allclose(passed * length, closed * length, rtol=1e-3, atol=1e-4 * float((closed * length).abs().max()))


def test_tanh_of_a_row_of_zeros_is_zero_with_a_finite_gradient():
    values = torch.zeros(2, 8)
    values[1, 0] = 1e-3
    passed = gradient(values, random(2, 8), "binary", estimator=Tanh(gamma=0.0))
    assert torch.equal(fake_quantize(values, "binary", estimator=Tanh(gamma=0.0))[0], torch.zeros(8))
    assert passed.isfinite().all()


@pytest.mark.parametrize(("precision", "half"), [("int8", 128), ("int4", 8), ("int2", 2)])
@pytest.mark.parametrize("per_dimension", [True, False])
def test_a_learned_steps_gradient_is_lsqs(precision, half, per_dimension):
    values, upstream = random(40, 8), random(40, 8, scale=3)
    ranges = LearnedStep(8, precision, per_dimension).fit(values)
    with torch.no_grad():
        ranges.step.mul_({128: 0.05, 8: 0.3, 2: 0.3}[half])  # so that some values clip
    inputs = values.clone().requires_grad_()
    faked = fake_quantize(inputs, precision, ranges, estimator="lsq")
    faked.backward(upstream)

    v = values / ranges.step.detach()
    inside = (v >= -half) & (v < half)
    assert 0 < inside.float().mean() < 1
    by_value = torch.where(inside, v.floor() + 0.5 - v, v.floor().clamp(-half, half - 1) + 0.5)
    g = ((1 if per_dimension else 8) * (half - 1)) ** -0.5
    expected = (upstream * by_value * g).sum(0)
    expected = expected if per_dimension else expected.sum(0, keepdim=True)
    assert torch.allclose(ranges.step.grad, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(inputs.grad, upstream * inside)
    assert torch.equal(faked, fake_quantize(values, precision, ranges))  # the forward is the grid all the same


def test_training_lowers_the_error_of_a_learned_step():
    values = random(512, 4)
    ranges = LearnedStep(4, "int4").fit(values)
    optimizer = torch.optim.SGD(ranges.parameters(), lr=0.3)
    errors = []
    for _ in range(60):
        error = (fake_quantize(values, "int4", ranges, estimator="lsq") - values).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.8 * errors[0]


def test_wrong_estimators_are_refused():
    values = random(4, 4)
    with pytest.raises(ValueError, match="unknown estimator 'sign'; valid: identity, clipped, tanh, lsq"):
        fake_quantize(values, "binary", estimator="sign")
    with pytest.raises(ValueError, match="needs ranges=LearnedStep"):
        fake_quantize(values, "int8", MinMaxRange().fit(values), estimator="lsq")
    with pytest.raises(ValueError, match="limit above 0"):
        Clipped(0)
    with pytest.raises(ValueError, match="gamma ≥ 0"):
        Tanh(gamma=-1)
    with pytest.raises(ValueError, match=r"scale above 0, not 0\.1 and 0"):
        Tanh(scale=0)


def test_float16_inputs_are_quantized_in_float32():
    values = random(16, 24).to(torch.bfloat16)
    assert fake_quantize(values, "int8", MinMaxRange().fit(values)).dtype == torch.float32
