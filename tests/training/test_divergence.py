"""A loss that is NaN, or a thousand times its median, ends the training at that step with one line."""

import math
from types import SimpleNamespace

import pytest

from qatlab.errors import UserError
from qatlab.training.resumable import StopWhenDiverged


class Checkpoints:
    """As a training has them."""

    def __init__(self, last=None):
        self.newest = last

    def last(self):
        return self.newest


def after(rows, checkpoints=None):
    watch = StopWhenDiverged("int2-seed=0", checkpoints or Checkpoints())
    for step, row in enumerate(rows, start=1):
        watch.on_log(None, SimpleNamespace(global_step=step), None, logs=row)


def losses(*values):
    return [{"loss": value, "grad_norm": 1.0} for value in values]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (losses(2.0, math.nan), "at step 2: the loss is nan"),
        (losses(2.0, math.inf), "at step 2: the loss is inf"),
        ([{"loss": 2.0, "grad_norm": math.nan}], "at step 1: the norm of the gradient is nan"),
        (losses(2.0, 2.0, 3.0, 2.0, 2.0, 2e4), r"at step 6: the loss is 2e\+04, and its median was 2 before"),
    ],
)
def test_it_names_the_run_the_step_and_the_last_good_checkpoint(rows, message):
    with pytest.raises(UserError, match=f"int2-seed=0 diverged {message}; there is no earlier checkpoint"):
        after(rows)
    with pytest.raises(UserError, match="the last good checkpoint is results/checkpoint-1"):
        after(rows, Checkpoints("results/checkpoint-1"))


@pytest.mark.parametrize(
    "rows",
    [
        losses(*[3.0] * 10, 900.0, 2.0),
        losses(*[1e-6] * 10, 1e-2, 900.0),
        losses(0.0, 5000.0, 4.0),
        [{"train_runtime": 3.0}],
    ],
)
def test_a_rise_that_trainings_survive_does_not_end_them(rows):
    after(rows)
