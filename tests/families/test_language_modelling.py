"""Bits per byte, and the pseudo-value of each document."""

import numpy as np
import pytest

from qatlab.families.causal_lm.score import bits_per_byte


@pytest.mark.parametrize("documents", [1, 2, 3, 4, 50])
def test_the_mean_of_pseudo_values_is_the_metric(documents):
    generator = np.random.default_rng(0)
    sizes = generator.integers(10, 1000, documents)
    nats = sizes * generator.uniform(0.5, 1.5, documents)
    parts = bits_per_byte(nats, sizes)
    assert parts.shape == (documents,)
    assert parts.mean() == pytest.approx(nats.sum() / np.log(2) / sizes.sum())


def test_the_variance_of_pseudo_values_is_that_of_the_metric_over_other_documents():
    generator = np.random.default_rng(0)
    estimates, errors = [], []
    for _ in range(400):
        sizes = generator.lognormal(5, 1, 80)
        nats = sizes * generator.normal(1, 0.2, 80)
        parts = bits_per_byte(nats, sizes)
        estimates.append(parts.mean())
        errors.append(parts.std(ddof=1) / np.sqrt(80))
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.12)
