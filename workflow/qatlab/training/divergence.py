"""Ends a training whose loss is no number any more, or has exploded: what followed would be no result."""

import math
import statistics
from collections import deque
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.errors import Diverged
from qatlab.training.checkpoints import Checkpoints

EXPLODED = 1000.0  # times the median loss of the steps before
STEPS = 100  # that the median is of, at most
FIRST_STEPS = 5  # too few to have a median
SMALL = 1.0  # a loss near 0 may rise a thousandfold and mean nothing


def diverged(label: str, step: int, found: str, checkpoints: Checkpoints) -> Diverged:
    """The error that ends a training.

    Args:
        label: of the run.
        step: the optimizer step that it was found in.
        found: what is no number, or too large.
        checkpoints: of the training.
    """
    last = checkpoints.last()
    good = f"the last good checkpoint is {last}" if last else "there is no checkpoint from before it"
    return Diverged(
        f"{label} diverged at step {step}: {found}; {good}. "
        "Lower its learning rate or trainer.max_grad_norm, or raise trainer.warmup_ratio",
        step,
        str(last) if last else None,
    )


class StopWhenDiverged(TrainerCallback):
    """Looks at each step's loss and gradient before anything of the step is saved.

    Raises Diverged with the run, the step and the last good checkpoint.
    """

    def __init__(self, label: str, checkpoints: Checkpoints) -> None:
        self.label, self.checkpoints = label, checkpoints
        self.before: deque[float] = deque(maxlen=STEPS)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Of every step."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        found = self._found(loss, float(logs.get("grad_norm") or 0.0))
        if found:
            raise diverged(self.label, state.global_step, found, self.checkpoints)
        self.before.append(loss)

    def _found(self, loss: float, gradient: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(gradient):
            return f"the norm of the gradient is {gradient}"
        if len(self.before) >= FIRST_STEPS:
            usual = max(statistics.median(self.before), SMALL)
            if loss > EXPLODED * usual:
                return f"the loss is {loss:.4g}, and was {usual:.4g} before (median)"
        return None
