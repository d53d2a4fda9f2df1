"""Trainer of embedding models, which computes the loss in float32 on every device."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from accelerate.data_loader import BatchSamplerShard
from sentence_transformers import SentenceTransformerTrainer
from torch.utils.data import DataLoader

from qatlab.losses import QuantizationAwareLoss
from qatlab.training.resumable import Resumable


class Trainer(Resumable, SentenceTransformerTrainer):
    """Sentence Transformers' trainer without bf16 autocast of the loss.

    On a CPU, Transformers' trainer would apply bf16 autocast to the loss too; on a GPU it does not. bf16 keeps 8 bits of a similarity,
    which is too few to distinguish an int8 embedding from a float one. The model itself still runs in bf16: accelerate wraps its
    forward pass and returns float32 embeddings.
    """

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> AbstractContextManager[None]:
        """Return a context without autocast for the loss."""
        return nullcontext()

    def get_train_dataloader(self) -> DataLoader:
        """Return the data loader, whose sampler receives the epoch in a distributed training too.

        Accelerate (1.15) does not pass the epoch on to the sampler, so that all epochs would have the order of the first one.
        Transformers sets it on the sampler's shard, also in a resumed training that skips batches.
        """
        loader = super().get_train_dataloader()
        shard: Any = loader.batch_sampler
        if isinstance(shard, BatchSamplerShard):
            shard.set_epoch = shard.batch_sampler.set_epoch
        return loader

    def _padding(self) -> tuple[int, bool]:
        tokenizer: Any = self.model.tokenizer
        return tokenizer.pad_token_id, tokenizer.padding_side == "left"

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log values together with the weights, components and shares of changed values of the loss, so that trackers receive them.

        Args:
            logs: the values to log, by name.
            args: further arguments of Transformers' `log`.
            kwargs: further arguments of Transformers' `log`.
        """
        if "loss" in logs and isinstance(self.loss, QuantizationAwareLoss):
            logs = {**logs, **self.loss.diagnostics}
        super().log(logs, *args, **kwargs)
