"""Training for a given time instead of a given number of steps, to compare methods at equal wall-clock time."""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.machine.processes import count, largest

UNENDING = 2**31 - 1  # number of steps that is never reached, because the clock ends the training


class WallClock(TrainerCallback):
    """Callback that ends a training after the first step that completes when the given time has elapsed.

    The clock starts at the end of the first step, because that step includes one-time costs (compilation, filling caches).

    Args:
        seconds: duration of the training in seconds.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began: float | None = None
        self.agreed = 0.0

    def passed(self) -> float:
        """Return the elapsed seconds. The processes of a distributed training agree on them at each step, until the next one."""
        return self.agreed if count() > 1 else self._own()

    def _own(self) -> float:
        return 0.0 if self.began is None else time.monotonic() - self.began

    def progress(self) -> float:
        """Return the elapsed share of the time, from 0 to 1."""
        return min(self.passed() / self.seconds, 1.0)

    def resume_from(self, passed: float) -> None:
        """Set the elapsed seconds to those of a checkpoint."""
        self.began, self.agreed = time.monotonic() - passed, passed

    def exclude(self, seconds: float) -> None:
        """Exclude the given seconds, which have just elapsed, from the training time."""
        if self.began is not None:
            self.began += seconds

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Agree on the elapsed time before the learning rate is computed from it."""
        (self.agreed,) = largest([self._own()])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the clock after the first step, and end the training when the time has elapsed."""
        if self.began is None:
            self.began = time.monotonic()
        control.should_training_stop = self.progress() >= 1.0
