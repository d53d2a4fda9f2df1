"""Interruptions of a training in the same process, before one of its steps."""

from collections.abc import Callable
from typing import Any

import pytest

from qatlab.training.callbacks import TrainingLog


class Killed(BaseException):
    """Exception that no handler catches."""


def kill() -> None:
    """Raise `Killed`, as if the process ended here."""
    raise Killed


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, do: Callable[[], None]) -> None:
    """Call `do` once, before a step of the next training."""
    before = TrainingLog.on_step_begin

    def on_step_begin(self: TrainingLog, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == step:
            monkeypatch.setattr(TrainingLog, "on_step_begin", before)
            do()
        before(self, args, state, control, **kwargs)

    monkeypatch.setattr(TrainingLog, "on_step_begin", on_step_begin)
