"""Schedules against the published warm-up."""

import pytest

from qatlab.schedules import LinearWarmup


def test_the_published_warm_up_does_not_finish_at_90k_samples():
    # hotchpotch, sentence-transformers pull request 3655: 90k samples are 1,407 steps at batch 64 and 704 at 128;
    # binary's warm-up of 1,800 steps reaches 78 % and 39 % of its weight.
    binary = LinearWarmup(0.5, steps=1800)
    assert binary.at(1407, 1407) / 0.5 == pytest.approx(0.78, abs=0.005)
    assert binary.at(704, 704) / 0.5 == pytest.approx(0.39, abs=0.005)
    assert LinearWarmup(1.0, steps=200).at(200, 1407) == 1.0


def test_fractions_and_steps_agree():
    assert LinearWarmup(1.0, fraction=0.25).at(10, 100) == LinearWarmup(1.0, steps=25).at(10, 100) == pytest.approx(0.4)
    assert LinearWarmup(0.7).at(0, None) == 0.7


def test_wrong_schedules_are_refused():
    with pytest.raises(ValueError, match="not both"):
        LinearWarmup(1.0, steps=1, fraction=0.1)
    with pytest.raises(ValueError, match="total number of steps"):
        LinearWarmup(1.0, fraction=0.1).at(0, None)
