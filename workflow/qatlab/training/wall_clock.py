"""Training for a given time instead of a given number of steps: the question of what a recipe is worth at equal wall-clock."""

import time
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

UNITS = 10_000  # a schedule of Transformers is read at this many places of the whole training
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

    def progress(self) -> float:
        """Share of the time that has passed, from 0 to 1."""
        return 0.0 if self.began is None else min((time.monotonic() - self.began) / self.seconds, 1.0)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Looks at the clock."""
        if self.began is None:
            self.began = time.monotonic()
        control.should_training_stop = self.progress() >= 1.0


class OnTheClock(Trainer):
    """Transformers' trainer; with a clock, its learning rate follows the clock in the shape that the scheduler has over steps."""

    def __init__(self, *args: Any, clock: WallClock | None = None, **kwargs: Any) -> None:
        self.clock = clock
        super().__init__(*args, **kwargs)
        if clock is not None:
            self.add_callback(clock)

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """A scheduler over steps, or the same shape over the time that is allowed."""
        clock = self.clock
        if clock is None:
            return super().create_scheduler(num_training_steps, optimizer)
        over_steps: Any = super().create_scheduler(UNITS, optimizer)
        shape = over_steps.lr_lambdas[0]
        self.lr_scheduler = LambdaLR(over_steps.optimizer, lambda _: shape(round(clock.progress() * UNITS)))
        return self.lr_scheduler
