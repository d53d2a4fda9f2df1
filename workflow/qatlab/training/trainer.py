"""Sentence Transformers' trainer, with the loss in float32 on every device."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from sentence_transformers import SentenceTransformerTrainer

from qatlab.losses import QuantizationAwareLoss
from qatlab.training.resumable import Resumable


class Trainer(Resumable, SentenceTransformerTrainer):
    """On a CPU, Transformers' trainer puts the loss under bf16 autocast too; on a GPU it does not.

    bf16 keeps 8 bits of a similarity: too few to tell an int8 embedding from a float one. The model itself
    still runs in bf16: accelerate wraps its forward pass and returns float32 embeddings.
    """

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> AbstractContextManager[None]:
        """No autocast around the loss."""
        return nullcontext()

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """With the loss's weights, components and shares changed: here, trackers get them too."""
        if "loss" in logs and isinstance(self.loss, QuantizationAwareLoss):
            logs = {**logs, **self.loss.diagnostics}
        super().log(logs, *args, **kwargs)
