"""Settings of a trainer, and one-line errors for those that several processes cannot use."""

import pytest

from qatlab.config.trainer import TrainerConfig

REFUSED = [
    (
        {"batch_size": 50, "distributed": {"processes": 4}},
        "batch_size=50 cannot be divided equally among 4 processes; .* such as 48 or 52",
    ),
    ({"batch_size": 4, "distributed": {"processes": 3, "nodes": 2}}, "set a multiple of 6, such as 6"),
    (
        {"batch_size": 8, "dataloader_drop_last": False, "distributed": {"nodes": 2}},
        "2 processes cannot share; set it to true",
    ),
    ({"distributed": {"processes": 0}}, "greater than 0"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_settings_that_processes_cannot_share_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        TrainerConfig.model_validate(values)


@pytest.mark.parametrize(
    ("trainer", "extra", "steps"),
    [
        ({"max_steps": 700}, 0.07, 749),  # 700 × 0.07 is more than 49 in floating point
        ({"max_steps": 10}, 0.01, 11),
        ({"max_examples": 640}, 0.5, 15),
        ({"num_train_epochs": 2}, 0.05, 32),  # 5 % more than twice 15
        ({}, 0.0, 15),
        ({}, None, 15),
    ],
)
def test_extra_steps_are_a_share_rounded_up(trainer, extra, steps):
    assert TrainerConfig.model_validate(trainer).steps(1000, extra) == steps


def test_the_batch_is_that_of_all_processes():
    one = TrainerConfig(batch_size=48)
    four = TrainerConfig.model_validate({"batch_size": 48, "distributed": {"processes": 2, "nodes": 2}})
    assert one.steps(1000) == four.steps(1000) == 20
    assert four.distributed.in_all == 4
