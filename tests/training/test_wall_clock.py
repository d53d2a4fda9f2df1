"""Training for a given time: it ends with the clock, and the learning rate follows it."""

import time

import pytest

from qatlab.config.trainer import TrainerConfig
from qatlab.config.weights import StartConfig
from qatlab.training.callbacks import WallClock
from qatlab.weights.prepare import begun


class Control:
    should_training_stop = False


def test_the_clock_starts_behind_the_first_step():
    clock, control = WallClock(0.2), Control()
    time.sleep(0.25)
    assert clock.progress() == 0
    clock.on_step_end(None, None, control)
    assert not control.should_training_stop
    time.sleep(0.1)
    assert 0.4 < clock.progress() < 1
    time.sleep(0.15)
    clock.on_step_end(None, None, control)
    assert control.should_training_stop
    assert clock.progress() == 1


def test_a_late_start_is_a_share_of_the_time():
    late = StartConfig(fraction=0.3)
    assert [begun(late, 10, 10 / done) for done in (0.1, 0.29, 0.31, 1.0)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_seconds": 5, "max_steps": 7}, "set only one of max_steps and max_seconds"),
        ({"max_examples": 5, "max_steps": 7}, "set only one of max_steps and max_examples"),
        ({"max_seconds": 5, "warmup_steps": 7}, "max_seconds cannot be combined with warmup_steps; set warmup_ratio"),
        (
            {"lr_scheduler_kwargs": {"num_cycles": 2}},
            "lr_scheduler_kwargs are for cosine_with_restarts, not for linear",
        ),
    ],
)
def test_inconsistent_budgets_are_reported(values, message):
    with pytest.raises(ValueError, match=message):
        TrainerConfig.model_validate(values)


def test_examples_are_a_budget():
    assert TrainerConfig(max_examples=100, batch_size=16).steps(7) == 7
    assert TrainerConfig(max_examples=100, batch_size=16, gradient_accumulation_steps=2).steps(7) == 4
