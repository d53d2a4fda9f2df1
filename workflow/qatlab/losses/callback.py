"""What connects a QuantizationAwareLoss to the trainer that it is used in."""

from typing import Any

from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.losses.quantization_aware import QuantizationAwareLoss


class QuantizationAwareCallback(TrainerCallback):
    """Callback that passes each step's number to the loss, logs its diagnostics, and leaves its centring with the model.

    Logged beside the trainer's own values, in `trainer.state.log_history`: `weight_<precision>`, `loss_<precision>`
    (before its weight), `changed_<precision>` (share of embedding values that the grid changed), `scale_<precision>` where
    learned, and `gradient_ratio_<precision>` and `gradient_cosine_<precision>` of the latest comparison with the float
    term's gradient.

    Args:
        loss: the loss given to the trainer.

    Example:
        ::

            trainer = SentenceTransformerTrainer(
                model=model, train_dataset=train_dataset, loss=loss, callbacks=[QuantizationAwareCallback(loss)]
            )
    """

    def __init__(self, loss: QuantizationAwareLoss) -> None:
        self.loss = loss

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Passes the step on, and clears the gradients of the loss's own parameters.

        The trainer clears those of the model alone (sentence-transformers 5.7), so that they would add up over all steps.
        """
        self.loss.set_progress(state.global_step, state.max_steps)
        for parameter in self.loss.own_parameters():
            parameter.grad = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Adds the loss's diagnostics to a training log."""
        if logs is not None and "loss" in logs:
            diagnostics = {**self.loss.gradients.latest, **self.loss.diagnostics}
            logs.update(diagnostics)
            state.log_history[-1].update(diagnostics)  # a copy, made before callbacks are asked

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        """Append the loss's centring, if any, to the trained model."""
        while not isinstance(model, SentenceTransformer):  # what DistributedDataParallel or torch.compile made of it
            model = getattr(model, "module", None) or model._orig_mod
        self.loss.append_centring(model)
