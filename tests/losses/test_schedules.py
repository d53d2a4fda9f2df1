"""Schedules, compared with their documented values."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatlab.losses.terms import SHAPES, WeightSchedule


def test_the_published_staged_warm_up():
    """In hotchpotch's trainings of 1,407 and 704 steps, binary's warm-up of 1,800 steps reaches 78 % and 39 % of its weight."""
    binary, int8 = WeightSchedule(0.5, warmup_steps=1800), WeightSchedule(1.0, warmup_steps=200)
    assert binary.at(1407, None) / 0.5 == pytest.approx(0.78, abs=0.005)
    assert binary.at(704, None) / 0.5 == pytest.approx(0.39, abs=0.005)
    assert [int8.at(step, None) for step in (0, 100, 200, 1000)] == [0, 0.5, 1, 1]


def test_constant_from_the_first_step():
    assert WeightSchedule(2.0).at(0, None) == 2.0
    assert not WeightSchedule(2.0).varies


def test_late_start_and_warm_up_in_fractions():
    late = WeightSchedule(1.0, start_fraction=0.5)
    assert [late.at(step, 10) for step in (0, 4, 5, 9)] == [0, 0, 1, 1]
    both = WeightSchedule(2.0, start_steps=4, warmup_fraction=0.4)
    assert [both.at(step, 10) for step in (3, 4, 6, 8, 9)] == [0, 0, 1, 2, 2]


def test_cosine_is_flat_at_both_ends():
    schedule = WeightSchedule(1.0, warmup_steps=100, shape="cosine")
    assert [schedule.at(step, None) for step in (0, 50, 100)] == pytest.approx([0, 0.5, 1])
    assert schedule.at(1, None) == pytest.approx((1 - math.cos(math.pi / 100)) / 2)
    assert schedule.at(1, None) < 0.001
    assert schedule.at(99, None) > 0.999


@given(st.floats(0, 5), st.integers(0, 50), st.integers(0, 50), st.sampled_from(SHAPES))
def test_weights_never_fall_and_end_at_the_weight(weight, start, warmup, shape):
    schedule = WeightSchedule(weight, warmup_steps=warmup, start_steps=start, shape=shape)
    values = [schedule.at(step, None) for step in range(start + warmup + 2)]
    assert values == sorted(values)
    assert values[-1] == weight
    assert all(value == 0 for value in values[:start])


def test_wrong_schedules_are_refused():
    with pytest.raises(ValueError, match="≥ 0, not -1"):
        WeightSchedule(-1)
    with pytest.raises(ValueError, match="≥ 0"):
        WeightSchedule(float("nan"))
    with pytest.raises(ValueError, match="warmup_steps or warmup_fraction, not both"):
        WeightSchedule(1.0, warmup_steps=1, warmup_fraction=0.1)
    with pytest.raises(ValueError, match="must be ≥ 0"):
        WeightSchedule(1.0, start_steps=-1)
    with pytest.raises(ValueError, match="unknown shape 'sine' of a schedule; valid: linear, cosine"):
        WeightSchedule(1.0, shape="sine")
    with pytest.raises(ValueError, match="total number of steps"):
        WeightSchedule(1.0, warmup_fraction=0.1).at(3, None)
