"""What QuantizationAwareLoss must know of the loss it wraps, and of those that wrap it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sentence_transformers import SentenceTransformer
from torch import nn

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
