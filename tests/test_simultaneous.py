"""Simultaneous intervals: measured coverage of all comparisons at once, and the special cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qatlab.statistics import bootstrap_intervals, simultaneous_intervals


def test_all_intervals_cover_at_once_and_single_ones_do_not():
    """20 independent comparisons of 60 queries, 150 studies: intervals of one comparison each miss some truth in most studies."""
    rng, studies, comparisons = np.random.default_rng(1), 150, 20
    all_cover, single_cover = [], []
    for _ in range(studies):
        differences = rng.normal(0, 0.4, size=(comparisons, 1, 60))
        low, high = simultaneous_intervals([[task] for task in differences], resamples=499)
        all_cover.append(((low <= 0) & (high >= 0)).all())
        low, high = bootstrap_intervals([differences], resamples=499)
        single_cover.append(((low <= 0) & (high >= 0)).all())
    assert 0.88 <= np.mean(all_cover) <= 0.99
    assert np.mean(single_cover) < 0.6


def test_one_comparison_has_about_its_own_interval_and_copies_change_nothing():
    task = np.random.default_rng(2).normal(0.02, 0.2, size=(3, 300))
    (low,), (high,) = simultaneous_intervals([[task]])
    expected = np.concatenate(bootstrap_intervals([task[None]]))
    assert (low, high) == pytest.approx(expected, abs=0.002)
    lows, highs = simultaneous_intervals([[task]] * 5)  # fully dependent comparisons need no correction
    assert lows == pytest.approx(np.full(5, low))
    assert highs == pytest.approx(np.full(5, high))


def test_equal_results_have_no_width_and_one_query_has_no_interval():
    rng = np.random.default_rng(3)
    lows, highs = simultaneous_intervals([[np.zeros((1, 50))], [rng.normal(size=(1, 50))]])
    assert (lows[0], highs[0]) == (0, 0)
    assert lows[1] < highs[1]
    assert np.isnan(simultaneous_intervals([[np.ones((1, 1))]])).all()
    assert simultaneous_intervals([])[0].shape == (0,)


def test_groups_of_other_shapes_share_the_error():
    rng = np.random.default_rng(4)
    one, three = rng.normal(size=(1, 100)), rng.normal(size=(3, 100))
    lows, highs = simultaneous_intervals([[one], [three], [one]])
    alone = simultaneous_intervals([[one], [one]], confidence=0.975)
    assert (lows[0], highs[0]) == pytest.approx((alone[0][0], alone[1][0]))
    assert lows[2] == lows[0]


@given(
    seed=st.integers(0, 2**32 - 1), comparisons=st.integers(1, 5), seeds=st.integers(1, 3), queries=st.integers(2, 20)
)
@settings(max_examples=20, deadline=None)
def test_intervals_contain_the_mean_and_follow_signs_and_scale(seed, comparisons, seeds, queries):
    values = np.random.default_rng(seed).normal(size=(comparisons, seeds, queries))
    low, high = simultaneous_intervals([[task] for task in values], resamples=199)
    means = values.mean(axis=(1, 2))
    assert (low <= means + 1e-12).all()
    assert (means <= high + 1e-12).all()
    flipped = simultaneous_intervals([[-2 * task] for task in values], resamples=199)
    assert flipped[0] == pytest.approx(-2 * high)
    assert flipped[1] == pytest.approx(-2 * low)
