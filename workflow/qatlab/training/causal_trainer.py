"""Trainer for causal language models, over a number of steps or a given time."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from qatlab.training.resumable import Resumable
from qatlab.training.wall_clock import WallClock

UNITS = 10_000  # number of points of the whole training at which a schedule of Transformers is evaluated


class CausalTrainer(Resumable):
    """Transformers' trainer. With a clock, the learning rate follows the elapsed time in the shape that it has over steps.

    Args:
        clock: callback that ends the training after a given time; None if the number of steps ends it.
    """

    def __init__(self, *args: Any, clock: WallClock | None = None, **kwargs: Any) -> None:
        self.clock = clock
        super().__init__(*args, **kwargs)
        if clock is not None:
            self.add_callback(clock)

    def _padding(self) -> tuple[int, bool]:
        return self.data_collator.padding, False

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """Create a scheduler over steps, or with a clock one of the same shape over the given time."""
        clock = self.clock
        if clock is None:
            return super().create_scheduler(num_training_steps, optimizer)
        over_steps: Any = super().create_scheduler(UNITS, optimizer)
        shape = over_steps.lr_lambdas[0]
        self.lr_scheduler = LambdaLR(over_steps.optimizer, lambda _: shape(round(clock.progress() * UNITS)))
        return self.lr_scheduler
