"""How a precision's weight in the loss changes during training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SHAPES = ("linear", "cosine")


@dataclass(frozen=True)
class WeightSchedule:
    """0 until `start`, then up to `weight` over the warm-up, then constant. Without either: constant from the first step.

    Args:
        weight: the weight at the end.
        warmup_steps: optimizer steps from the start of the warm-up to the full weight; or
        warmup_fraction: the same as a share of all steps. Above 1 the warm-up never completes.
        start_steps: the optimizer step at which it begins (late start); or
        start_fraction: the same as a share of all steps.
        shape: 'linear' (hotchpotch's staged warm-up, sentence-transformers pull request 3655) or 'cosine', which
            begins and ends flat.
    """

    weight: float = 1.0
    warmup_steps: int | None = None
    warmup_fraction: float | None = None
    start_steps: int | None = None
    start_fraction: float | None = None
    shape: str = "linear"

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"a precision's weight must be ≥ 0, not {self.weight}")
        for what in ("warmup", "start"):
            steps, fraction = getattr(self, f"{what}_steps"), getattr(self, f"{what}_fraction")
            if steps is not None and fraction is not None:
                raise ValueError(f"give {what}_steps or {what}_fraction, not both")
            if min(steps or 0, fraction or 0) < 0:
                raise ValueError(f"{what}_steps and {what}_fraction must be ≥ 0")
        if self.shape not in SHAPES:
            raise ValueError(f"unknown shape '{self.shape}' of a schedule; valid: {', '.join(SHAPES)}")

    def at(self, step: int, total_steps: int | None) -> float:
        """The weight at an optimizer step (the first is 0). A fraction needs `total_steps`."""
        start = self._steps(self.start_steps, self.start_fraction, total_steps)
        warmup = self._steps(self.warmup_steps, self.warmup_fraction, total_steps)
        if step < start:
            return 0.0
        done = 1.0 if warmup <= 0 else min(1.0, (step - start) / warmup)
        return self.weight * (done if self.shape == "linear" else (1 - math.cos(math.pi * done)) / 2)

    @property
    def varies(self) -> bool:
        """Whether it depends on the step."""
        return any((self.warmup_steps, self.warmup_fraction, self.start_steps, self.start_fraction))

    @staticmethod
    def _steps(steps: int | None, fraction: float | None, total_steps: int | None) -> float:
        if not fraction:
            return steps or 0
        if total_steps is None:
            raise ValueError(
                "a schedule given as a fraction needs the total number of steps; call set_progress(step, total_steps)"
            )
        return fraction * total_steps


def schedules_of(names: list[str], weights: Sequence[float | WeightSchedule] | None) -> dict[str, WeightSchedule]:
    """Return the schedule of each precision by its name; constant for a plain number, and of weight 1 where `weights` is None.

    Raises:
        ValueError: for another number of weights than of precisions, and where every weight is 0.
    """
    weights = [1.0] * len(names) if weights is None else list(weights)
    if len(weights) != len(names):
        raise ValueError(f"{len(names)} precisions need as many weights, not {len(weights)}")
    schedules = [weight if isinstance(weight, WeightSchedule) else WeightSchedule(float(weight)) for weight in weights]
    if all(schedule.weight == 0 for schedule in schedules):
        raise ValueError("every weight is 0; give at least one precision a positive weight")
    return dict(zip(names, schedules, strict=True))
