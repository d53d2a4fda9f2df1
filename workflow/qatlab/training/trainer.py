"""Sentence Transformers' trainer, with the loss in float32 on every device."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from accelerate.data_loader import BatchSamplerShard
from sentence_transformers import SentenceTransformerTrainer
from torch.utils.data import DataLoader

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

    def get_train_dataloader(self) -> DataLoader:
        """In several processes accelerate (1.15) keeps the epoch from the sampler, so that all epochs had the first one's order.

        Transformers asks the part of the sampler for it, also behind what skips batches where a training goes on.
        """
        loader = super().get_train_dataloader()
        part: Any = loader.batch_sampler
        if isinstance(part, BatchSamplerShard):
            part.set_epoch = part.batch_sampler.set_epoch
        return loader

    def _padding(self) -> tuple[int, bool]:
        tokenizer: Any = self.model.tokenizer
        return tokenizer.pad_token_id, tokenizer.padding_side == "left"

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """With the loss's weights, components and shares changed: here, trackers get them too."""
        if "loss" in logs and isinstance(self.loss, QuantizationAwareLoss):
            logs = {**logs, **self.loss.diagnostics}
        super().log(logs, *args, **kwargs)
