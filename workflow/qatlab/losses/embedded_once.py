"""Context in which a wrapped loss gets precomputed embeddings from its model, so that the model runs once per step."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

try:  # Since sentence-transformers 6, losses may embed several columns in one merged forward pass.
    from sentence_transformers.base.losses.merged_forward import column_merging_disabled, embed_columns
except ImportError:
    column_merging_disabled = embed_columns = None


class EmbeddedOnce:
    """Context manager in which `model(features)` returns the embeddings that `serve` received instead of running the model.

    Args:
        model: The model of the loss: a SentenceTransformer, possibly wrapped by DistributedDataParallel or torch.compile.
        features: Tokenized text columns.

    Attributes:
        floats: Embeddings of each column, (n, dim), with their graph.
    """

    def __init__(self, model: nn.Module, features: list[dict[str, Tensor]]) -> None:
        self.model = model
        self.features = features
        self.served: list[Tensor] = []
        self.calls = 0

    def __enter__(self) -> "EmbeddedOnce":
        columns = [dict(column) for column in self.features]  # copies, because modules write into their input
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
        """Set the embeddings that the model returns, one tensor per column; call the loss inside the returned context."""
        self.served = columns
        self.calls = 0
        return nullcontext() if column_merging_disabled is None else column_merging_disabled()

    def _answer(self, features: dict[str, Tensor], *_: Any, **__: Any) -> dict[str, Tensor]:
        """Return the embeddings of a column, identified by its features, or by the order of calls if the loss copied them."""
        index = next((i for i, column in enumerate(self.features) if column is features), self.calls)
        if index >= len(self.served):
            raise ValueError(
                "the wrapped loss calls its model more often than there are text columns; "
                "QuantizationAwareLoss supports losses with one call per column"
            )
        self.calls += 1
        return {**self.outputs[index], "sentence_embedding": self.served[index]}
