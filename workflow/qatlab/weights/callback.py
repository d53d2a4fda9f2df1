"""Late QAT: the step at which fake quantizers of weights and of activations begin."""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.config.method import StartConfig, WeightStartConfig
from qatlab.weights.prepare import enable

UNENDING = 2.0**31  # steps of a training of which nothing is done yet


class WeightQuantizationCallback(TrainerCallback):
    """Switches the fake quantizers of the trainer's model at each step; `diagnostics` say which are on.

    Args:
        progress: the share of training that is done, where the clock ends it; by default that of its steps.
    """

    def __init__(self, start: WeightStartConfig, progress: Callable[[], float] | None = None) -> None:
        self.start = start
        self.progress = progress
        self.diagnostics: dict[str, float] = {}

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Before the forward pass of each optimizer step."""
        step, total = state.global_step, float(state.max_steps)
        if self.progress is not None:
            done = self.progress()
            total = step / done if done > 0 else UNENDING
        weights, activations = (begun(start, step, total) for start in (self.start.weights, self.start.activations))
        enable(kwargs["model"], weights=weights, activations=activations)
        self.diagnostics = {"weights_quantized": float(weights), "activations_quantized": float(activations)}


def begun(start: StartConfig, step: int, total_steps: float) -> bool:
    """Whether quantization is on at an optimizer step (the first is 0)."""
    return step >= (start.fraction * total_steps if start.fraction is not None else start.steps or 0)
