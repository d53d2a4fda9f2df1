"""A loss computed on quantized embeddings, at several precisions at once."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from qatlab.quantization.fake import fake_quantize
from qatlab.quantization.grids import check_precision
from qatlab.quantization.ranges import MinMaxRange
from qatlab.schedules import LinearWarmup

INTEGER_PRECISIONS = ("int8", "uint8")


class QuantizationAwareLoss(nn.Module):
    """Wraps a loss over embeddings so that it also sees them as they will be stored.

    The wrapped loss is computed once per precision, on embeddings rounded to that precision's grid
    (`qatlab.quantization`, the grid that evaluation uses), and the weighted sum is minimized.
    Gradients pass the rounding unchanged (straight-through estimator). The model runs once per step
    whatever the number of precisions: each sees the same float32 embeddings, never another's output.

    int8 and uint8 take their per-dimension range from all embeddings of the batch, queries and
    documents together.

    Args:
        model: the SentenceTransformer that is trained.
        loss: a loss over embeddings that calls its model once per text column, e.g. MultipleNegativesRankingLoss.
        precisions: names of grids, each once, e.g. ``["float32", "int8", "binary"]``.
        weights: one number or schedule per precision; 1.0 each by default.

    Raises:
        ValueError: for no or repeated precisions, unknown ones, weights of another length, or only zero weights.

    Inputs:
        The texts and labels of the wrapped loss.

    Relations:
        MatryoshkaLoss does the same for truncated embeddings.

    Example:
        ::

            loss = losses.MultipleNegativesRankingLoss(model)
            loss = QuantizationAwareLoss(model, loss, precisions=["float32", "int8", "binary"])
            trainer = SentenceTransformerTrainer(model=model, train_dataset=train_dataset, loss=loss)

    References:
        - sentence-transformers pull request 3655, where a loss of this name was first proposed
        - Bengio et al. 2013, straight-through estimator: https://arxiv.org/abs/1308.3432
    """

    def __init__(
        self,
        model: SentenceTransformer,
        loss: nn.Module,
        precisions: Sequence[str] = ("float32", "int8", "binary"),
        weights: Sequence[float | LinearWarmup] | None = None,
    ) -> None:
        super().__init__()
        if not precisions:
            raise ValueError("precisions is empty; give at least one, e.g. ['float32', 'int8']")
        for precision in precisions:
            check_precision(precision)
        if len(set(precisions)) != len(precisions):
            raise ValueError(f"precisions lists one twice: {list(precisions)}")
        weights = [1.0] * len(precisions) if weights is None else list(weights)
        if len(weights) != len(precisions):
            raise ValueError(f"{len(precisions)} precisions need as many weights, not {len(weights)}")
        schedules = [weight if isinstance(weight, LinearWarmup) else LinearWarmup(float(weight)) for weight in weights]
        if all(schedule.weight == 0 for schedule in schedules):
            raise ValueError("every weight is 0; give at least one precision a positive weight")
        self.model = model
        self.loss = loss
        self.schedules = dict(zip(precisions, schedules, strict=True))
        self.step = 0
        self.total_steps: int | None = None
        self.diagnostics: dict[str, float] = {}

    def set_progress(self, step: int, total_steps: int | None) -> None:
        """Tells the schedules where training stands; called before each optimizer step."""
        self.step, self.total_steps = step, total_steps

    def forward(
        self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The weighted loss of each precision that has weight at this step, by name; the trainer sums and logs them."""
        features = list(sentence_features)
        weights = {
            precision: schedule.at(self.step, self.total_steps) for precision, schedule in self.schedules.items()
        }
        active = {precision: weight for precision, weight in weights.items() if weight > 0}
        self.diagnostics = {f"weight_{precision}": weight for precision, weight in weights.items()}
        with _EmbeddedOnce(self.model, features) as embedded:
            if not active:  # before any warm-up has begun
                return {precision: 0.0 * self._loss_at("float32", embedded, labels) for precision in list(weights)[:1]}
            return {
                precision: weight * self._loss_at(precision, embedded, labels) for precision, weight in active.items()
            }

    def _loss_at(self, precision: str, embedded: "_EmbeddedOnce", labels: Tensor | None) -> Tensor:
        embedded.serve(precision)
        value: Tensor = self.loss(embedded.features, labels)
        self.diagnostics[f"loss_{precision}"] = float(value.detach())
        if precision != "float32":
            self.diagnostics[f"changed_{precision}"] = embedded.share_changed()
        return value

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card says of this loss."""
        return {
            "loss": type(self.loss).__name__,
            "precisions": list(self.schedules),
            "weights": [schedule.weight for schedule in self.schedules.values()],
        }

    @property
    def citation(self) -> str:
        """BibTeX of the straight-through estimator."""
        return """
@article{bengio2013estimating,
    title={Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation},
    author={Bengio, Yoshua and L{\\'e}onard, Nicholas and Courville, Aaron},
    journal={arXiv preprint arXiv:1308.3432},
    year={2013}
}
"""


class _EmbeddedOnce:
    """While open, `model(features)` answers with the embeddings of one forward pass, on the grid being served."""

    def __init__(self, model: nn.Module, features: list[dict[str, Tensor]]) -> None:
        self.model = model
        self.features = features
        self.served: list[Tensor] = []
        self.calls = 0

    def __enter__(self) -> "_EmbeddedOnce":
        self.outputs = [dict(self.model(dict(column))) for column in self.features]
        self.floats = [output["sentence_embedding"] for output in self.outputs]
        self.original = self.model.__dict__.get("forward")
        self.model.forward = self._next_output  # as MatryoshkaLoss does
        return self

    def __exit__(self, *_: object) -> None:
        if self.original is None:
            del self.model.forward
        else:
            self.model.forward = self.original

    def serve(self, precision: str) -> None:
        """Puts every column on the grid; integer grids share one range over all columns."""
        ranges = (
            MinMaxRange().fit(torch.cat([e.detach().float() for e in self.floats]))
            if precision in INTEGER_PRECISIONS
            else None
        )
        self.served = [fake_quantize(embeddings, precision, ranges) for embeddings in self.floats]
        self.calls = 0

    def share_changed(self) -> float:
        """The share of embedding values that the grid moved: 0 would mean that quantization is not live."""
        with torch.no_grad():
            changed = sum(
                int((served != floats).sum()) for served, floats in zip(self.served, self.floats, strict=True)
            )
            return changed / sum(floats.numel() for floats in self.floats)

    def _next_output(self, *_: Any, **__: Any) -> dict[str, Tensor]:
        if self.calls >= len(self.served):
            raise ValueError(
                "the wrapped loss calls its model more often than there are text columns; QuantizationAwareLoss needs one call a column"
            )
        output = {**self.outputs[self.calls], "sentence_embedding": self.served[self.calls]}
        self.calls += 1
        return output
