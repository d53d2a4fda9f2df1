"""Intervals, compared with SciPy's for the same design, and their measured coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qatlab.statistics import bootstrap_intervals


def test_one_seed_and_one_task_is_scipys_bootstrap_of_the_mean():
    values = np.random.default_rng(3).normal(0.02, 0.2, size=(1, 1, 300))
    low, high = bootstrap_intervals([values])
    theirs = stats.bootstrap((values[0, 0],), np.mean, method="percentile", n_resamples=9999, rng=5)
    assert (low[0], high[0]) == pytest.approx(tuple(theirs.confidence_interval), abs=0.002)


def test_two_tasks_are_independent_samples_with_equal_weights():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.1, 0.3, size=200), rng.normal(-0.02, 0.1, size=50)
    low, high = bootstrap_intervals([a[None, None], b[None, None]])
    theirs = stats.bootstrap(
        (a, b), lambda x, y, axis: (x.mean(axis) + y.mean(axis)) / 2, method="percentile", n_resamples=9999, rng=5
    )
    assert (low[0], high[0]) == pytest.approx(tuple(theirs.confidence_interval), abs=0.003)


def test_seeds_do_not_increase_the_number_of_queries():
    """Three seeds with the same values give the same interval as one."""
    values = np.random.default_rng(5).normal(size=(1, 1, 100))
    one, three = bootstrap_intervals([values]), bootstrap_intervals([np.repeat(values, 3, axis=1)])
    assert np.concatenate(three) == pytest.approx(np.concatenate(one), abs=0.03)
    apart = np.random.default_rng(6).normal(size=(1, 3, 100)) * 0.01 + values  # each of its own luck, a little
    assert np.concatenate(bootstrap_intervals([apart])) == pytest.approx(np.concatenate(one), abs=0.04)


@pytest.mark.parametrize(
    ("seeds", "seed_deviation", "least"), [(1, 0.0, 0.92), (3, 0.02, 0.92), (3, 0.05, 0.88), (5, 0.05, 0.91)]
)
def test_coverage(seeds, seed_deviation, least):
    """400 simulated studies of 200 queries have a known difference; queries have a standard error of 0.03, as do three seeds of 0.05."""
    rng = np.random.default_rng(7)
    studies = 400
    queries = rng.normal(0, 0.4, size=(studies, 1, 200))
    luck = rng.normal(0, seed_deviation, size=(studies, seeds, 1))
    low, high = bootstrap_intervals(
        [0.05 + queries + luck + rng.normal(0, 0.1, size=(studies, seeds, 200))], resamples=1999
    )
    assert np.mean((low <= 0.05) & (high >= 0.05)) >= least


@given(
    seeds=st.integers(1, 4),
    queries=st.lists(st.integers(2, 20), min_size=1, max_size=3),
    number=st.integers(0, 2**32 - 1),
)
@settings(max_examples=20, deadline=None)
def test_intervals_contain_their_mean_and_change_sign_with_the_differences(seeds, queries, number):
    rng = np.random.default_rng(number)
    tasks = [rng.normal(size=(2, seeds, count)) for count in queries]
    means = np.mean([task.mean(axis=(1, 2)) for task in tasks], axis=0)
    low, high = bootstrap_intervals(tasks, resamples=499)
    assert (low <= means + 0.05).all()
    assert (high >= means - 0.05).all()
    negative_low, negative_high = bootstrap_intervals([-task for task in tasks], resamples=499)
    assert negative_low == pytest.approx(-high)
    assert negative_high == pytest.approx(-low)


def test_equal_models_have_no_width_and_a_single_value_no_interval():
    low, high = bootstrap_intervals([np.zeros((1, 2, 30))])
    assert (low[0], high[0]) == (0.0, 0.0)
    assert np.isnan(bootstrap_intervals([np.ones((1, 1, 1))])).all()
