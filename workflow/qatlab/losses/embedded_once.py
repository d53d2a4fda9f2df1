"""One forward pass a step: the wrapped loss asks its model for embeddings and is answered from memory."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

try:  # sentence-transformers 6: losses may embed several columns in one merged forward pass
    from sentence_transformers.base.losses.merged_forward import column_merging_disabled, embed_columns
except ImportError:
    column_merging_disabled = embed_columns = None


class EmbeddedOnce:
    """While open, `model(features)` answers with the embeddings being served instead of running the model.

    Args:
        model: the model as the loss has it: a SentenceTransformer, or what DistributedDataParallel or torch.compile
            made of it.
        features: tokenized text columns.

    Attributes:
        floats: each column's embeddings, (n, dim), with their graph.
    """

    def __init__(self, model: nn.Module, features: list[dict[str, Tensor]]) -> None:
        self.model = model
        self.features = features
        self.served: list[Tensor] = []
        self.calls = 0

    def __enter__(self) -> "EmbeddedOnce":
        columns = [dict(column) for column in self.features]  # modules write into what they are given
        if embed_columns is None:
            self.outputs = [dict(self.model(column)) for column in columns]
        else:
            self.outputs = [{"sentence_embedding": e} for e in embed_columns(self.model, columns)]
        self.floats: list[Tensor] = [output["sentence_embedding"] for output in self.outputs]
        self.original = self.model.__dict__.get("forward")
        self.model.forward = self._answer  # as MatryoshkaLoss does
        return self

    def __exit__(self, *_: object) -> None:
        if self.original is None:
            del self.model.forward
        else:
            self.model.forward = self.original

    def serve(self, columns: list[Tensor]) -> AbstractContextManager[None]:
        """Answers with these embeddings from now on, a tensor a column. The loss must be called in the returned context."""
        self.served = columns
        self.calls = 0
        return nullcontext() if column_merging_disabled is None else column_merging_disabled()

    def _answer(self, features: dict[str, Tensor], *_: Any, **__: Any) -> dict[str, Tensor]:
        """The column is known by its features, or, where the loss made a copy of them, by the order of calls."""
        index = next((i for i, column in enumerate(self.features) if column is features), self.calls)
        if index >= len(self.served):
            raise ValueError(
                "the wrapped loss calls its model more often than there are text columns; "
                "QuantizationAwareLoss needs one call a column"
            )
        self.calls += 1
        return {**self.outputs[index], "sentence_embedding": self.served[index]}
