"""Transformers' trainer for causal language models, over steps or on the clock."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from qatlab.training.resumable import Resumable
from qatlab.training.wall_clock import WallClock

UNITS = 10_000  # a schedule of Transformers is read at this many places of the whole training


class OnTheClock(Resumable):
    """Transformers' trainer; with a clock, its learning rate follows the clock in the shape that the scheduler has over steps."""

    def __init__(self, *args: Any, clock: WallClock | None = None, **kwargs: Any) -> None:
        self.clock = clock
        super().__init__(*args, **kwargs)
        if clock is not None:
            self.add_callback(clock)

    def _padding(self) -> tuple[int, bool]:
        return self.data_collator.padding, False

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """A scheduler over steps, or the same shape over the time that is allowed."""
        clock = self.clock
        if clock is None:
            return super().create_scheduler(num_training_steps, optimizer)
        over_steps: Any = super().create_scheduler(UNITS, optimizer)
        shape = over_steps.lr_lambdas[0]
        self.lr_scheduler = LambdaLR(over_steps.optimizer, lambda _: shape(round(clock.progress() * UNITS)))
        return self.lr_scheduler
