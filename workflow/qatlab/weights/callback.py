"""Late QAT: the step at which fake quantizers of weights and of activations begin."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.config.method import StartConfig, WeightStartConfig
from qatlab.weights.prepare import enable


class WeightQuantizationCallback(TrainerCallback):
    """Switches the fake quantizers of the trainer's model at each step; `diagnostics` say which are on."""

    def __init__(self, start: WeightStartConfig) -> None:
        self.start = start
        self.diagnostics: dict[str, float] = {}

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Before the forward pass of each optimizer step."""
        weights = begun(self.start.weights, state.global_step, state.max_steps)
        activations = begun(self.start.activations, state.global_step, state.max_steps)
        enable(kwargs["model"], weights=weights, activations=activations)
        self.diagnostics = {"weights_quantized": float(weights), "activations_quantized": float(activations)}


def begun(start: StartConfig, step: int, total_steps: int) -> bool:
    """Whether quantization is on at an optimizer step (the first is 0)."""
    return step >= (start.fraction * total_steps if start.fraction is not None else start.steps or 0)
