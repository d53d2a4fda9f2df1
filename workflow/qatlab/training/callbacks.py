"""Callbacks of the trainer: where a training stands, for the person watching and the log, and its end after a given time."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.losses import QuantizationAwareLoss
from qatlab.losses.terms import FloatTeacherLoss
from qatlab.machine.processes import count, largest
from qatlab.progress import Pace, clock, say

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


class LogState(NamedTuple):
    """The state of a training's log that a checkpoint saves: its rows, the duration of each step, and seconds that have passed."""

    rows: list[dict[str, float]]
    step_seconds: list[float]
    clock: float


class TrainingLog(TrainerCallback):
    """Log of a training: one row per step (losses, schedule weights, shares of changed values) and the duration of each step.

    Args:
        label: name of the run, for messages.
        loss: the loss, whose `diagnostics` are part of the row if it is a QuantizationAwareLoss or has a float teacher.
        others: callbacks whose `diagnostics` are part of the row too.
        clock: callback that ends a training after a given time; None if the number of steps ends it.
    """

    def __init__(self, label: str, loss: Any, others: Sequence[Any] = (), clock: WallClock | None = None) -> None:
        self.label = label
        self.loss = loss if isinstance(loss, QuantizationAwareLoss) else None
        self.others = [*others, loss] if isinstance(loss, FloatTeacherLoss) else others
        self.clock = clock
        self.rows: list[dict[str, float]] = []
        self.step_seconds: list[float] = []
        self.pace = Pace()
        self.first_step = 0  # The step of the checkpoint in a resumed training.

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Report the start of the training."""
        self.began, self.first_step = time.monotonic(), state.global_step
        say(f"train {self.label}: {f'{self.clock.seconds:g} seconds' if self.clock else f'{state.max_steps} steps'}")

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record the start of the step."""
        self.step_began = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Record the duration of the step."""
        self.step_seconds.append(time.monotonic() - self.step_began)

    def state(self) -> LogState:
        """Return the state that a checkpoint saves and `restore` takes."""
        return LogState(self.rows, self.step_seconds, self.clock.passed() if self.clock else 0.0)

    def restore(self, state: LogState) -> None:
        """Restore the rows, durations and clock of a checkpoint."""
        self.rows, self.step_seconds = state.rows, state.step_seconds
        if self.clock is not None:
            self.clock.resume_from(state.clock)

    def check_live(self) -> None:
        """Raise a RuntimeError if quantization to a precision with a positive weight never changed a value."""
        if not self.rows or self.loss is None:
            return
        for name in self.loss.sides:
            shares = [row[f"changed_{name}"] for row in self.rows if f"changed_{name}" in row]
            if shares and max(shares) == 0:
                raise RuntimeError(
                    f"quantization to {name} changed no embedding value in {len(shares)} steps: it has no effect"
                )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Store the row of the step, and report it every few seconds."""
        if not logs or "loss" not in logs:
            return
        row: dict[str, float] = {
            "step": state.global_step,
            "epoch": state.epoch or 0.0,
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
                f"train {self.label}: step {self._position(state)}, loss {row['loss']:.3f}{detail}, {clock(self._seconds_left(state))} left"
            )

    def _position(self, state: TrainerState) -> str:
        return f"{state.global_step}" if self.clock else f"{state.global_step} of {state.max_steps}"

    def _seconds_left(self, state: TrainerState) -> float:
        """Return the estimated number of seconds until the end of the training."""
        if self.clock is not None:
            return self.clock.seconds * (1 - self.clock.progress())
        seconds_per_step = (time.monotonic() - self.began) / (state.global_step - self.first_step)
        return seconds_per_step * (state.max_steps - state.global_step)
