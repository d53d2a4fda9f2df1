"""p-values, compared with those of SciPy's permutation test on the means over seeds."""

import numpy as np
import pytest
from scipy import stats

from qatlab.statistics import permutation_p_values


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.06])
def test_as_scipys_paired_permutation_test(shift):
    rng = np.random.default_rng(1)
    a, b = rng.normal(shift, 0.3, size=(3, 150)), rng.normal(0, 0.3, size=(3, 150))
    (ours,) = permutation_p_values([(a - b)[None]])
    theirs = stats.permutation_test(
        (a.mean(axis=0), b.mean(axis=0)),
        lambda x, y, axis: x.mean(axis) - y.mean(axis),
        permutation_type="samples",
        n_resamples=9999,
        rng=2,
        vectorized=True,
    )
    assert ours == pytest.approx(theirs.pvalue, abs=0.02)


def test_few_queries_are_exact_to_sampling():
    """Two of the 2⁴ sign flips of four equal differences are equally extreme."""
    (p,) = permutation_p_values([np.ones((1, 1, 4))])
    assert p == pytest.approx(2 / 16, abs=0.015)


def test_under_no_difference_one_in_twenty_is_below_a_twentieth():
    values = np.random.default_rng(2).normal(size=(400, 1, 60))
    assert np.mean(permutation_p_values([values], resamples=999) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_tasks_have_equal_weights_for_any_number_of_queries():
    rng = np.random.default_rng(3)
    small, large = rng.normal(1.0, 1, size=(1, 1, 20)), rng.normal(0, 1, size=(1, 1, 2000))
    together, pooled = (
        permutation_p_values([small, large]),
        permutation_p_values([np.concatenate([small, large], axis=2)]),
    )
    assert together[0] < pooled[0]


def test_zero_differences_have_p_1_and_the_smallest_p_follows_from_the_resamples():
    assert permutation_p_values([np.zeros((1, 1, 9))])[0] == 1.0
    assert permutation_p_values([np.full((1, 1, 500), 0.5)])[0] == pytest.approx(2e-4)


def test_a_p_value_does_not_depend_on_the_other_comparisons():
    rng = np.random.default_rng(4)
    # Values as coarse as reciprocal ranks, of which many sums are equal.
    values = rng.choice([-0.5, 0.0, 0.0, 0.5, 1 / 3], size=(40, 2, 100))
    together = permutation_p_values([values])
    assert together.tolist() == [permutation_p_values([one[None]])[0] for one in values]
