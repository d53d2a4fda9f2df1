"""Required numbers of queries and seeds, checked by simulation."""

import numpy as np
import pytest
from scipy.stats import norm

from qatlab.statistics import needed


def test_the_required_queries_have_the_requested_power():
    """The differences of a small study are repeated to the required number and resampled many times."""
    rng = np.random.default_rng(0)
    seen = rng.normal(0, 1, size=400)
    seen = seen - seen.mean() + 0.08
    count = needed([seen[None]]).queries
    assert count == pytest.approx(((norm.ppf(0.975) + norm.ppf(0.8)) / 0.08) ** 2, rel=0.1)
    separable = [abs(z) > norm.ppf(0.975) for z in _z(rng.choice(seen, size=(1000, count)))]
    assert np.mean(separable) == pytest.approx(0.8, abs=0.05)


def _z(samples):
    return samples.mean(axis=1) / (samples.std(axis=1, ddof=1) / np.sqrt(samples.shape[1]))


def test_no_number_of_queries_is_sufficient_if_the_variance_of_seeds_is_too_large():
    by_seed = np.array([-0.05, 0.0, 0.08])[:, None]
    answer = needed([np.repeat(by_seed, 1000, axis=1)])
    assert answer.queries is None
    assert answer.seeds > 3


def test_no_number_of_seeds_is_sufficient_if_the_variance_of_queries_is_too_large():
    rng = np.random.default_rng(1)
    of_queries = rng.normal(0, 1, size=50)
    answer = needed([np.stack([of_queries - of_queries.mean() + 0.01 + luck for luck in (-1e-4, 0, 1e-4)])])
    assert answer.seeds is None
    assert answer.queries > 50


def test_one_seed_gives_no_number_of_seeds_and_a_zero_difference_no_factor():
    values = np.random.default_rng(2).normal(0.1, 1, size=(1, 30))
    assert needed([values]).seeds is None
    nothing = needed([np.array([[0.5, -0.5, 0.25, -0.25]])])
    assert (nothing.queries, nothing.times) == (None, None)


def test_the_factor_on_both_is_given_if_neither_is_sufficient_alone():
    """Four times the queries and the seeds halve the error."""
    rng = np.random.default_rng(3)
    luck = np.linspace(-0.12, 0.12, 30)[:, None]
    differences = rng.normal(0, 0.3, size=(1, 400)) + luck
    differences = differences - differences.mean() + 0.015
    once = needed([differences])
    assert (once.queries, once.seeds) == (None, None)
    again = needed([np.tile(differences, (4, 4))])
    assert again.times == pytest.approx(once.times / 4, rel=0.1)
