"""Detection of divergence: a training whose loss became NaN or exploded is ended, because its result would be useless."""

import math
import statistics
from collections import deque
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.errors import Diverged
from qatlab.training.checkpoints import Checkpoints

EXPLODED = 1000.0  # largest ratio of a loss to the median of the previous losses
STEPS = 100  # largest number of losses of which the median is taken
FIRST_STEPS = 5  # number of losses below which no median is taken
SMALL = 1.0  # smallest median: a loss near 0 may rise a thousandfold without divergence


def diverged(label: str, step: int, symptom: str, checkpoints: Checkpoints) -> Diverged:
    """Return the error that ends a diverged training.

    Args:
        label: name of the run, for the message.
        step: the optimizer step in which divergence was detected.
        symptom: which value is NaN, infinite or too large.
        checkpoints: the checkpoints of the training, of which the latest is named.
    """
    last = checkpoints.last()
    good = f"the last good checkpoint is {last}" if last else "there is no earlier checkpoint"
    return Diverged(
        f"{label} diverged at step {step}: {symptom}; {good}. "
        "Lower its learning rate or trainer.max_grad_norm, or raise trainer.warmup_ratio",
        step,
        str(last) if last else None,
    )


class StopWhenDiverged(TrainerCallback):
    """Callback that checks the loss and the gradient of each step before a checkpoint of the step is saved.

    It raises Diverged with the run, the step and the last good checkpoint.

    Args:
        label: name of the run, for messages.
        checkpoints: the checkpoints of the training.
    """

    def __init__(self, label: str, checkpoints: Checkpoints) -> None:
        self.label, self.checkpoints = label, checkpoints
        self.losses: deque[float] = deque(maxlen=STEPS)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Check the loss and the norm of the gradient of a step."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        symptom = self._symptom(loss, float(logs.get("grad_norm") or 0.0))
        if symptom:
            raise diverged(self.label, state.global_step, symptom, self.checkpoints)
        self.losses.append(loss)

    def _symptom(self, loss: float, gradient: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(gradient):
            return f"the norm of the gradient is {gradient}"
        if len(self.losses) >= FIRST_STEPS:
            median = max(statistics.median(self.losses), SMALL)
            if loss > EXPLODED * median:
                return f"the loss is {loss:.4g}, and its median was {median:.4g} before"
        return None
