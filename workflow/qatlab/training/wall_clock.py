"""Training for a given time instead of a given number of steps: the question of what a recipe is worth at equal wall-clock."""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.machine.processes import count, largest

UNENDING = 2**31 - 1  # steps: the clock ends the training


class WallClock(TrainerCallback):
    """Ends a training at the first step that is over when its time is.

    The clock starts with the first step's end, since that step pays for what a longer training would not notice
    (compiling, filling caches).

    Args:
        seconds: what is allowed.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began: float | None = None
        self.agreed = 0.0

    def passed(self) -> float:
        """Seconds. Several processes agree on them at each step, and until the next."""
        return self.agreed if count() > 1 else self._own()

    def _own(self) -> float:
        return 0.0 if self.began is None else time.monotonic() - self.began

    def progress(self) -> float:
        """Share of the time that has passed, from 0 to 1."""
        return min(self.passed() / self.seconds, 1.0)

    def go_on_from(self, passed: float) -> None:
        """Runs on from so many seconds: those of a checkpoint."""
        self.began, self.agreed = time.monotonic() - passed, passed

    def leave_out(self, seconds: float) -> None:
        """Time that just passed and was not training's."""
        if self.began is not None:
            self.began += seconds

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Before the learning rate follows the clock."""
        (self.agreed,) = largest([self._own()])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Looks at the clock."""
        if self.began is None:
            self.began = time.monotonic()
        control.should_training_stop = self.progress() >= 1.0
