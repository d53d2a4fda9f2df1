"""Verdicts on the differences of a table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from qatlab.statistics import holm, verdicts


def test_zero_differences_are_rarely_separable():
    """Without correction, two of forty zero differences would be separable at 5 %; with Holm's, none is."""
    rng = np.random.default_rng(0)
    results = verdicts([[rng.normal(0, 0.3, size=(2, 100))] for _ in range(40)])
    assert {verdict.word for verdict in results} == {"not separable"}


def test_verdicts_keep_the_order_of_differences_of_different_shapes():
    rng = np.random.default_rng(1)
    shifts, shapes = [0.3, 0.0, -0.3, 0.3], [(1, 80), (3, 80), (1, 80), (3, 40)]
    differences = [[s + rng.normal(0, 0.2, size=shape)] for s, shape in zip(shifts, shapes, strict=True)]
    results = verdicts(differences)
    assert [verdict.word for verdict in results] == ["better", "not separable", "worse", "better"]
    for verdict, (task,) in zip(results, differences, strict=True):
        assert verdict.difference == pytest.approx(task.mean())
        assert verdict.low < verdict.difference < verdict.high


def test_seeds_that_disagree_keep_a_small_p_from_being_a_verdict():
    """Two thousand queries separate these three models, but their seeds do not separate the methods."""
    rng = np.random.default_rng(2)
    luck = np.array([-0.02, 0.01, 0.05])[:, None]
    (verdict,) = verdicts([[luck + rng.normal(0, 0.1, size=(1, 2000))]])
    assert verdict.p < 0.05
    assert verdict.word == "not separable"
    assert verdict.needed.queries is None
    assert verdict.needed.seeds > 3


def test_an_empty_table_has_none():
    assert verdicts([]) == []


def test_differences_that_are_missing_count_in_the_correction():
    """They count with a p-value of 1, so that failed runs do not weaken the correction."""
    queries = np.random.default_rng(0).uniform(size=(1, 200))
    alone = verdicts([[queries - 0.3]])
    lacking = verdicts([[queries - 0.3]], planned=1000)
    assert alone[0].word == "better"
    assert lacking[0].p == pytest.approx(1000 * alone[0].p)
    assert lacking[0].word == "not separable"
    assert verdicts([], planned=3) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holms_correction_is_statsmodels(p_values):
    assert holm(np.array(p_values)).tolist() == multipletests(p_values, method="holm")[1].tolist()
