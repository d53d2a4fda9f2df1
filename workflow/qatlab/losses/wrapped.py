"""What QuantizationAwareLoss must know of the loss it wraps, and of those that wrap it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from qatlab.quantization.precisions import similarity_slope

DEFAULT_SCALE = 20.0  # where the wrapped loss has none
# They use the model in ways that embeddings from memory cannot answer.
NOT_OVER_EMBEDDINGS = {
    "AdaptiveLayerLoss": "it reads the embeddings of every layer",
    "Matryoshka2dLoss": "it reads the embeddings of every layer",
    "DenoisingAutoEncoderLoss": "it decodes tokens",
    "ContrastiveTensionLoss": "it trains a copy of the model too",
    "ContrastiveTensionLossInBatchNegatives": "it trains a copy of the model too",
}


def check_over_embeddings(model: SentenceTransformer, loss: Any) -> None:
    """Raises TypeError for what is no loss of Sentence Transformers over embeddings, ValueError for another model's."""
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
        raise ValueError(f"{name} was made for another model than QuantizationAwareLoss; give both the same model")


def cached_loss(loss: nn.Module) -> Any:
    """The loss within that keeps gradients in a cache (the Cached… losses), whose `calculate_loss` gets embeddings."""
    if not getattr(loss, "uses_gradient_cache", False):
        return None
    return next((part for part in _chain(loss) if hasattr(part, "calculate_loss")), None)


def scaled_loss(loss: nn.Module) -> Any:
    """The loss within that multiplies similarities by its attribute `scale` (1 / temperature)."""
    return next((part for part in _chain(loss) if isinstance(getattr(part, "scale", None), int | float)), None)


def gather(loss: nn.Module) -> None:
    """Lets a loss take its in-batch negatives from all processes. Raises ValueError for one that cannot."""
    able = [part for part in _chain(loss) if hasattr(part, "gather_across_devices")]
    if not able:
        raise ValueError(
            f"{type(loss).__name__} cannot gather a batch from several processes, so each would train on a part of it by itself"
        )
    for part in able:
        setattr(part, "gather_across_devices", True)  # noqa: B010 — which mypy takes for a tensor


def gathers(loss: nn.Module) -> bool:
    """Whether a loss takes its in-batch negatives from all processes."""
    return any(getattr(part, "gather_across_devices", False) for part in _chain(loss))


@contextmanager
def scale_replaced(loss: Any, scale: Any) -> Iterator[None]:
    """While open, `loss.scale` is another number or a scalar tensor; None leaves it."""
    if loss is None or scale is None:
        yield
        return
    before = loss.scale
    loss.scale = scale
    try:
        yield
    finally:
        loss.scale = before


def wants_a_number(model: nn.Module) -> bool:
    """Whether a MatryoshkaLoss is around, which adds up what it gets and cannot add dictionaries."""
    forward = model.__dict__.get("forward")
    return type(forward).__module__.rpartition(".")[2] == "matryoshka"


def _chain(loss: nn.Module) -> Iterator[nn.Module]:
    """A loss, the loss that it modifies, and so on."""
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
    """Return the scale of the wrapped loss, and the other ones of precisions by their names.

    Args:
        sides: the grids of queries and documents by the name of each precision.
        scales: those that are given.
        learned: names of the precisions whose scale is trained.
        match: whether others with bits have the wrapped loss's scale divided by the slope of their similarities.

    Raises:
        ValueError: for an unknown name, a scale of 0 or less, and for scales of a loss that has none.
    """
    scaled = scaled_loss(loss)
    for name in (*scales, *learned):
        if name not in sides:
            raise ValueError(f"a scale is given for '{name}', which is not among the precisions {list(sides)}")
    if (scales or learned) and scaled is None:
        raise ValueError(f"{type(loss).__name__} has no scale, so none can be given by precision")
    own = DEFAULT_SCALE if scaled is None else float(scaled.scale)
    for name, scale in scales.items():
        if not 0 < scale < math.inf:
            raise ValueError(f"the scale of {name} must be above 0, not {scale}")
    if not match or scaled is None:
        return own, dict(scales)
    matched = {name: own / similarity_slope(*pair) for name, pair in sides.items()}
    return own, {name: scale for name, scale in matched.items() if scale != own} | dict(scales)


def total_of(value: Any) -> Tensor:
    """Return the sum of a loss's components, which some losses return in a dictionary."""
    summed: Tensor = torch.stack(list(value.values())).sum() if isinstance(value, dict) else value
    return summed
