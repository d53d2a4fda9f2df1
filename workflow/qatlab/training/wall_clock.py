"""Training for a given time instead of a given number of steps: the question of what a recipe is worth at equal wall-clock."""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

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

    def passed(self) -> float:
        """Seconds."""
        return 0.0 if self.began is None else time.monotonic() - self.began

    def progress(self) -> float:
        """Share of the time that has passed, from 0 to 1."""
        return min(self.passed() / self.seconds, 1.0)

    def go_on_from(self, passed: float) -> None:
        """Runs on from so many seconds: those of a checkpoint."""
        self.began = time.monotonic() - passed

    def leave_out(self, seconds: float) -> None:
        """Time that just passed and was not training's."""
        if self.began is not None:
            self.began += seconds

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Looks at the clock."""
        if self.began is None:
            self.began = time.monotonic()
        control.should_training_stop = self.progress() >= 1.0
