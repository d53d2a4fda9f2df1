"""The loss that QuantizationAwareLoss wraps: its properties, how it is called on given embeddings, and gradients that it caches."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from qatlab.losses.gradients import gradients_of
from qatlab.quantization.precisions import similarity_slope

DEFAULT_SCALE = 20.0  # where the wrapped loss has none
# Losses that need more from the model than embeddings, so that precomputed embeddings cannot replace it.
NOT_OVER_EMBEDDINGS = {
    "AdaptiveLayerLoss": "it reads the embeddings of every layer",
    "Matryoshka2dLoss": "it reads the embeddings of every layer",
    "DenoisingAutoEncoderLoss": "it decodes tokens",
    "ContrastiveTensionLoss": "it trains a copy of the model too",
    "ContrastiveTensionLossInBatchNegatives": "it trains a copy of the model too",
}


def check_over_embeddings(model: SentenceTransformer, loss: Any) -> None:
    """Check that a loss can be wrapped.

    Args:
        model: The model that is trained.
        loss: The loss to be wrapped.

    Raises:
        TypeError: If it is not a loss of Sentence Transformers over embeddings.
        ValueError: If it was created for another model.
    """
    name = type(loss).__name__
    example = "wrap e.g. MultipleNegativesRankingLoss(model)"
    if not isinstance(loss, nn.Module):
        raise TypeError(f"loss must be a loss of Sentence Transformers, not {name}; {example}")
    for part in _chain(loss):
        if type(part).__name__ in NOT_OVER_EMBEDDINGS:
            reason = NOT_OVER_EMBEDDINGS[type(part).__name__]
            raise TypeError(f"{type(part).__name__} is not a loss over embeddings alone: {reason}; {example}")
    if not isinstance(getattr(loss, "model", None), nn.Module):
        raise TypeError(f"{name} is not a loss over embeddings: it has no model to embed texts with; {example}")
    if loss.model is not model:
        raise ValueError(f"{name} was created for another model than QuantizationAwareLoss; give both the same model")


def cached_loss(loss: nn.Module) -> Any:
    """Return the inner loss with a gradient cache (a Cached… loss), whose `calculate_loss` takes embeddings, or None."""
    if not getattr(loss, "uses_gradient_cache", False):
        return None
    return next((part for part in _chain(loss) if hasattr(part, "calculate_loss")), None)


def scaled_loss(loss: nn.Module) -> Any:
    """Return the inner loss that multiplies similarities by its attribute `scale` (1 / temperature), or None."""
    return next((part for part in _chain(loss) if isinstance(getattr(part, "scale", None), int | float)), None)


def gather(loss: nn.Module) -> None:
    """Make a loss take its in-batch negatives from all processes; raise ValueError for a loss that cannot."""
    gathering = [part for part in _chain(loss) if hasattr(part, "gather_across_devices")]
    if not gathering:
        raise ValueError(
            f"{type(loss).__name__} cannot gather a batch from several processes, so each would train on its part alone; "
            "train with one process, or with another loss"
        )
    for part in gathering:
        setattr(part, "gather_across_devices", True)  # noqa: B010 — mypy infers a tensor for an assignment


def gathers(loss: nn.Module) -> bool:
    """Return whether a loss takes its in-batch negatives from all processes."""
    return any(getattr(part, "gather_across_devices", False) for part in _chain(loss))


@contextmanager
def scale_replaced(loss: Any, scale: Any) -> Iterator[None]:
    """Replace `loss.scale` by a number or a scalar tensor inside the context; None leaves it unchanged.

    Args:
        loss: A loss with an attribute `scale`, or None.
        scale: The scale inside the context.
    """
    if loss is None or scale is None:
        yield
        return
    before = loss.scale
    loss.scale = scale
    try:
        yield
    finally:
        loss.scale = before


def needs_scalar(model: nn.Module) -> bool:
    """Return whether a MatryoshkaLoss is outside, which adds up the losses that it gets and cannot add dictionaries."""
    forward = model.__dict__.get("forward")
    return type(forward).__module__.rpartition(".")[2] == "matryoshka"


def _chain(loss: nn.Module) -> Iterator[nn.Module]:
    """Yield a loss, the loss that it modifies, and so on."""
    part: Any = loss
    while isinstance(part, nn.Module):
        yield part
        part = getattr(part, "loss", None)


def scales_by_precision(
    loss: nn.Module,
    sides: Mapping[str, tuple[str, str]],
    scales: Mapping[str, float],
    learned: Sequence[str],
    match: bool,
) -> tuple[float, dict[str, float]]:
    """Return the scale of the wrapped loss, and the scales that differ from it by the name of the precision.

    Args:
        loss: The wrapped loss.
        sides: The grids of queries and documents, by the name of each precision.
        scales: The scales that are given, by the name of the precision.
        learned: Names of the precisions whose scale is trained.
        match: Whether precisions with bits have the wrapped loss's scale divided by the slope of their similarities.

    Raises:
        ValueError: For an unknown name, a scale of 0 or less, and scales for a loss that has none.
    """
    scaled = scaled_loss(loss)
    for name in (*scales, *learned):
        if name not in sides:
            raise ValueError(f"a scale is given for '{name}', which is not among the precisions {list(sides)}")
    if (scales or learned) and scaled is None:
        raise ValueError(
            f"{type(loss).__name__} has no scale, so none can be given by precision; leave scales and learned_scales out"
        )
    own = DEFAULT_SCALE if scaled is None else float(scaled.scale)
    for name, scale in scales.items():
        if not 0 < scale < math.inf:
            raise ValueError(f"the scale of {name} must be above 0, not {scale}")
    if not match or scaled is None:
        return own, dict(scales)
    matched = {name: own / similarity_slope(*pair) for name, pair in sides.items()}
    return own, {name: scale for name, scale in matched.items() if scale != own} | dict(scales)


def total_of(value: Any) -> Tensor:
    """Return the sum of a loss's components, or the loss itself where it is not a dictionary of components."""
    total: Tensor = torch.stack(list(value.values())).sum() if isinstance(value, dict) else value
    return total


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


# Gradients of losses that cache them (GradCache), on their way through the fake quantization.
#
# A Cached loss of Sentence Transformers embeds texts in mini-batches without a graph, passes the embeddings to its method
# `calculate_loss`, which leaves gradients on them, and later propagates these gradients through the model.


@contextmanager
def calculate_loss_replaced(cached: Any, calculate_loss: Callable[..., Tensor]) -> Iterator[Callable[..., Tensor]]:
    """Replace the method `calculate_loss` of a Cached loss, and yield its own."""
    original = cached.__dict__.get("calculate_loss")
    own = cached.calculate_loss
    cached.calculate_loss = calculate_loss
    try:
        yield own
    finally:
        if original is None:
            del cached.calculate_loss
        else:
            cached.calculate_loss = original


class GradientsToLeave:
    """Gradients of one batch: those left on embeddings, and those of parameters that the quantized embeddings depend on.

    Args:
        parameters: Parameters of ranges and centring.
        distillation: Factor of the divergence.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], distillation: float) -> None:
        self.parameters, self.distillation = list(parameters), distillation
        self.of_parameters: list[tuple[Tensor, Tensor]] = []

    def leave(
        self,
        weight: float,
        reps: list[list[Tensor]],
        outputs: list[Tensor],
        leaves: list[list[Tensor]],
        scales: tuple[Any, Any],
    ) -> None:
        """Propagate the gradients of the wrapped loss through the fake quantization, and add them to those of `reps`.

        Args:
            weight: The precision's weight, by which the gradients are multiplied.
            reps: Embeddings of the mini-batches of each text column.
            outputs: Quantized columns, followed by the divergence where the precision is distilled.
            leaves: Tensors of the same values as `outputs`, in mini-batches, on which the wrapped loss left its gradients.
            scales: The scale of the precision, and the leaf that the wrapped loss used in its place.
        """
        upstream = [weight * gradient for gradient in gradients_of(leaves)]
        if len(outputs) > len(upstream):
            upstream.append(outputs[-1].new_tensor(weight * self.distillation))
        self.propagate(reps, outputs, upstream)
        scale, leaf = scales
        if isinstance(scale, Tensor) and leaf.grad is not None:
            self.of_parameters.append((scale, weight * leaf.grad))

    def propagate(self, reps: list[list[Tensor]], outputs: list[Tensor], upstream: list[Tensor] | None = None) -> None:
        """Add the gradients of tensors that were computed from `reps` to those of `reps` and of the parameters.

        Args:
            reps: Embeddings of the mini-batches of each text column.
            outputs: The tensors, with their graph.
            upstream: The gradient at each of them; None for scalars, whose gradient is 1.
        """
        targets = [rep for column in reps for rep in column]
        # The graph is retained because all precisions share that of centring.
        gradients = torch.autograd.grad(
            outputs, [*targets, *self.parameters], upstream, allow_unused=True, retain_graph=True
        )
        for rep, gradient in zip(targets, gradients, strict=False):
            if gradient is not None:
                rep.grad = gradient if rep.grad is None else rep.grad + gradient
        own = zip(self.parameters, gradients[len(targets) :], strict=True)
        self.of_parameters += [(parameter, gradient) for parameter, gradient in own if gradient is not None]

    def add_terms(self, total: Tensor, terms: Mapping[str, Tensor], reps: list[list[Tensor]], backward: bool) -> Tensor:
        """Add terms that were computed from `reps` without the wrapped loss to its total, and return the sum.

        Args:
            total: The total, a scalar.
            terms: Weighted scalars, with their graph.
            reps: Embeddings of the mini-batches of each text column.
            backward: Whether to leave the gradients of the terms, which are then added without graph.
        """
        for value in terms.values():
            if backward:
                self.propagate(reps, [value])
            total = total + (value.detach() if backward else value)
        return total

    def with_parameters(self, loss: Tensor) -> Tensor:
        """Return the loss plus terms of the value 0, by which the parameters get their gradients.

        The trainer's scaling of the loss then applies to these gradients too.
        """
        for tensor, gradient in self.of_parameters:
            surrogate = (tensor * gradient).sum()
            loss = loss + (surrogate - surrogate.detach())
        return loss
