"""Callbacks of the trainer: where a training stands, for the person watching and the log."""

import time
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.losses import QuantizationAwareLoss
from qatlab.progress import Pace, clock, say
from qatlab.training.wall_clock import WallClock


class TrainingLog(TrainerCallback):
    """Collects one row a step (losses, schedule weights, share of values changed) and the duration of each step.

    Args:
        others: callbacks whose `diagnostics` belong to the row too.
        clock: what ends the training, where steps do not.
    """

    def __init__(self, label: str, loss: Any, others: Sequence[Any] = (), clock: WallClock | None = None) -> None:
        self.label = label
        self.loss = loss if isinstance(loss, QuantizationAwareLoss) else None
        self.others = others
        self.clock = clock
        self.rows: list[dict[str, Any]] = []
        self.step_seconds: list[float] = []
        self.pace = Pace()
        self.first_step = 0  # not 0 where a training goes on from a checkpoint

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Announces the training."""
        self.began, self.first_step = time.monotonic(), state.global_step
        say(f"train {self.label}: {f'{self.clock.seconds:g} seconds' if self.clock else f'{state.max_steps} steps'}")

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Notes when the step began."""
        self.step_began = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Takes the step's time."""
        self.step_seconds.append(time.monotonic() - self.step_began)

    def state(self) -> dict[str, Any]:
        """For a checkpoint: what `restore` takes."""
        return {
            "rows": self.rows,
            "step_seconds": self.step_seconds,
            "clock": self.clock.passed() if self.clock else 0.0,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint's log."""
        self.rows, self.step_seconds = state["rows"], state["step_seconds"]
        if self.clock is not None:
            self.clock.go_on_from(state["clock"])

    def check_live(self) -> None:
        """Raises RuntimeError where a precision had weight, but its grid never changed a value."""
        if not self.rows or self.loss is None:
            return
        for name in self.loss.sides:
            shares = [row[f"changed_{name}"] for row in self.rows if f"changed_{name}" in row]
            if shares and max(shares) == 0:
                raise RuntimeError(
                    f"quantization to {name} changed no embedding value in {len(shares)} steps: it is not live"
                )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keeps the row, and says it every few seconds."""
        if not logs or "loss" not in logs:
            return
        row = {
            "step": state.global_step,
            "epoch": state.epoch,
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
        }
        row.update(self.loss.diagnostics if self.loss is not None else {})
        for other in self.others:
            row.update(other.diagnostics)
        self.rows.append(row)
        last = state.global_step == state.max_steps if self.clock is None else self.clock.progress() >= 1
        if self.pace.due() or last:
            parts = [
                f"{key.removeprefix('loss_')} {value:.3f}" for key, value in row.items() if key.startswith("loss_")
            ]
            detail = f" ({', '.join(parts)})" if parts else ""
            say(
                f"train {self.label}: step {self._of(state)}, loss {row['loss']:.3f}{detail}, {clock(self._left(state))} left"
            )

    def _of(self, state: TrainerState) -> str:
        return f"{state.global_step}" if self.clock else f"{state.global_step} of {state.max_steps}"

    def _left(self, state: TrainerState) -> float:
        """Seconds."""
        if self.clock is not None:
            return self.clock.seconds * (1 - self.clock.progress())
        a_step = (time.monotonic() - self.began) / (state.global_step - self.first_step)
        return a_step * (state.max_steps - state.global_step)
