"""How a precision's weight in the loss grows during training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearWarmup:
    """`weight × min(1, step / warmup)`: 0 at step 0, the full weight from step `warmup` on.

    Args:
        weight: the weight after warm-up.
        steps: optimizer steps of warm-up; or
        fraction: the same as a share of all steps. Above 1 the warm-up never completes.
    """

    weight: float = 1.0
    steps: int | None = None
    fraction: float | None = None

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"a precision's weight must be ≥ 0, not {self.weight}")
        if self.steps is not None and self.fraction is not None:
            raise ValueError("give a warm-up in steps or as a fraction, not both")

    def at(self, step: int, total_steps: int | None) -> float:
        """The weight at an optimizer step (the first is 0). A fraction needs `total_steps`."""
        warmup: float = self.steps or 0
        if self.fraction:
            if total_steps is None:
                raise ValueError(
                    "a warm-up given as a fraction needs the total number of steps; call set_progress(step, total_steps)"
                )
            warmup = self.fraction * total_steps
        return self.weight if warmup <= 0 else self.weight * min(1.0, step / warmup)
