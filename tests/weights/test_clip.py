"""Limits of rows, compared with torch.quantile for the percentile, and with brute force for the smallest squared error."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qatlab.config.weights import ClipConfig
from qatlab.weights.prepare import clipped, mse_limit, percentile_limit

shapes = st.tuples(st.integers(1, 40), st.integers(1, 300))


@settings(deadline=None)
@given(shape=shapes, share=st.one_of(st.floats(0, 1), st.just(0.9999984)), seed=st.integers(0, 1000))
def test_the_percentile_is_torchs(shape, share, seed):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        percentile_limit(weight, share), torch.quantile(weight.abs(), share, dim=1), rtol=1e-6, atol=1e-6
    )


def test_rows_beyond_the_first_block_are_included():
    weight = torch.randn(700, 1000)
    torch.testing.assert_close(
        percentile_limit(weight, 0.999), torch.quantile(weight.abs(), 0.999, dim=1), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_limit_of_least_error_is_no_worse_than_no_clipping_and_than_its_neighbours(bits):
    weight = torch.randn(20, 256, generator=torch.Generator().manual_seed(bits))

    def error(limit):
        step = limit / (2 ** (bits - 1) - 0.5)
        codes = (weight.clamp(-limit, limit) / step).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return (codes * step - weight).square().sum(dim=1)

    largest = weight.abs().amax(dim=1, keepdim=True)
    best = error(mse_limit(weight, bits).unsqueeze(1))
    for share in (1.0, 0.875, 0.75, 0.625):  # among the candidates
        assert (best <= error(largest * share) * (1 + 1e-5)).all()
    if bits <= 4:
        assert best.sum() < 0.99 * error(largest).sum()


def test_a_row_of_zeros_stays_zero():
    assert mse_limit(torch.zeros(2, 8), 4).tolist() == [0, 0]
    assert clipped(torch.zeros(2, 8), ClipConfig(kind="mse"), 4).tolist() == torch.zeros(2, 8).tolist()


@pytest.mark.parametrize("kind", ["percentile", "mse"])
def test_values_are_clipped_group_by_group_and_gradients_pass_everywhere(kind):
    weight = torch.randn(4, 32, requires_grad=True)
    config = ClipConfig(kind=kind, share=0.8)
    values = clipped(weight, config, 3, group_size=16)
    limits = (
        percentile_limit(weight.reshape(8, 16), 0.8) if kind == "percentile" else mse_limit(weight.reshape(8, 16), 3)
    )
    expected = weight.reshape(8, 16).clamp(-limits[:, None], limits[:, None]).reshape(4, 32)
    torch.testing.assert_close(values, expected)
    assert not torch.equal(values, weight)
    values.sum().backward()
    assert torch.equal(weight.grad, torch.ones(4, 32))
