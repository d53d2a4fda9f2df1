"""Trainer callback of late QAT, which starts the fake quantization of weights and of activations at a given step."""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.config.method import StartConfig, WeightStartConfig
from qatlab.weights.prepare import enable

UNENDING = 2.0**31  # assumed number of steps while a training that the clock ends has made no progress


class WeightQuantizationCallback(TrainerCallback):
    """Callback that enables or disables the fake quantizers of the trainer's model at each step.

    Args:
        start: When the fake quantization of weights and of activations begins.
        progress: Function that returns the completed fraction of a training that the clock ends; by default the fraction of its
            steps counts.

    Attributes:
        diagnostics: 1.0 or 0.0 for `weights_quantized` and `activations_quantized` at the current step.
    """

    def __init__(self, start: WeightStartConfig, progress: Callable[[], float] | None = None) -> None:
        self.start = start
        self.progress = progress
        self.diagnostics: dict[str, float] = {}

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Enable or disable the fake quantizers before the forward pass of each optimizer step.

        Args:
            args: The trainer's arguments.
            state: The trainer's state, which has the number of the step.
            control: The trainer's control object.
            **kwargs: Further arguments of callbacks, among them `model`.
        """
        step, total = state.global_step, float(state.max_steps)
        if self.progress is not None:
            done = self.progress()
            total = step / done if done > 0 else UNENDING
        weights, activations = (begun(start, step, total) for start in (self.start.weights, self.start.activations))
        enable(kwargs["model"], weights=weights, activations=activations)
        self.diagnostics = {"weights_quantized": float(weights), "activations_quantized": float(activations)}


def begun(start: StartConfig, step: int, total_steps: float) -> bool:
    """Return whether fake quantization is enabled at a step.

    Args:
        start: When it begins.
        step: The optimizer step, counted from 0.
        total_steps: Number of steps of the training.
    """
    return step >= (start.fraction * total_steps if start.fraction is not None else start.steps or 0)
