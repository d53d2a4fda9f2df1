"""Trainer callback of QuantizationAwareLoss."""

from typing import Any

from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qatlab.losses.quantization_aware import QuantizationAwareLoss


class QuantizationAwareCallback(TrainerCallback):
    """Callback that passes the number of each step to the loss, logs its diagnostics, and appends its centring to the model.

    The diagnostics in `trainer.state.log_history` are `weight_<precision>`, `loss_<precision>`
    (before its weight), `changed_<precision>` (share of embedding values that the grid changed), `scale_<precision>` where
    learned, `spread_out`, `balance`, `decorrelation` and `margin_ranking` (before their weights), where the loss has these terms,
    and `gradient_ratio_<precision>` and `gradient_cosine_<precision>` of the latest comparison with the gradient of the
    float term.

    Args:
        loss: The loss of the trainer.

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
        """Pass the step to the loss, and clear the gradients of the loss's own parameters.

        The trainer clears the gradients of the model only (sentence-transformers 5.7), so that those of the loss would add up over
        all steps.

        Args:
            args: The trainer's arguments.
            state: The trainer's state, which has the number of the step.
            control: The trainer's control object.
            **kwargs: Further arguments of callbacks.
        """
        self.loss.set_progress(state.global_step, state.max_steps)
        for parameter in self.loss.own_parameters():
            parameter.grad = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the diagnostics of the loss to a training log.

        Args:
            args: The trainer's arguments.
            state: The trainer's state, which has the log history.
            control: The trainer's control object.
            logs: The values that are logged.
            **kwargs: Further arguments of callbacks.
        """
        if logs is not None and "loss" in logs:
            diagnostics = {**self.loss.gradients.latest, **self.loss.diagnostics}
            logs.update(diagnostics)
            state.log_history[-1].update(diagnostics)  # the trainer copied `logs` there before it called callbacks

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        """Append the centring of the loss, if any, to the trained model.

        Args:
            args: The trainer's arguments.
            state: The trainer's state.
            control: The trainer's control object.
            model: The trained model.
            **kwargs: Further arguments of callbacks.
        """
        while not isinstance(model, SentenceTransformer):  # DistributedDataParallel and torch.compile wrap the model
            model = getattr(model, "module", None) or model._orig_mod
        self.loss.append_centring(model)
