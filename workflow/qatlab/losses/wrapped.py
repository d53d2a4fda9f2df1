"""Properties of the loss that QuantizationAwareLoss wraps, and of losses that wrap QuantizationAwareLoss."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

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
