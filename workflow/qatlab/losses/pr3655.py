"""Fake quantization of sentence-transformers' draft pull request 3655, which reproduces the results published with it.

It differs from `qatlab.quantization` on purpose: it rounds values to the nearest of 256 levels between the minimum and the
maximum of one column of one batch, through which gradients pass too, whereas evaluation rounds down over other ranges.
https://github.com/huggingface/sentence-transformers/pull/3655
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from qatlab.losses.ranges import BATCH
from qatlab.machine.processes import rows_of_all
from qatlab.quantization.estimators import Identity
from qatlab.quantization.ranges import Range, RunningRange

# Whether each precision quantizes the output of the precision before it. The pull request was first published with this
# behaviour, which was then fixed (hotchpotch, 15 February 2026).
VARIANTS = {"pr3655": True, "pr3655_cache_fixed": False}
PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")


def fake_quantize_pr3655(embeddings: Tensor, precision: str, ranges: Range | None = None) -> Tensor:
    """Fake-quantize (n, dim) embeddings as the pull request does.

    The gradient is straight-through, except that it also passes through the range of int8 where this is the batch's.

    Args:
        embeddings: (n, dim) floats.
        precision: One of PRECISIONS.
        ranges: A range for int8 and uint8 in place of the batch's extremes, as in the pull request's thread for the staged warm-up
            (a moving average).

    Returns:
        (n, dim) floats.
    """
    if precision == "float32":
        return embeddings
    if precision in ("binary", "ubinary"):
        below = -1.0 if precision == "binary" else 0.0
        positive = embeddings >= 0 if precision == "binary" else embeddings > 0
        return embeddings + (torch.where(positive, 1.0, below) - embeddings).detach()
    low, high = rows_of_all(embeddings).aminmax(dim=0) if ranges is None else (ranges.low, ranges.high)
    step = ((high - low) / 255).clamp_min(1e-8)
    level = (embeddings - low) / step
    return (level + (level.round() - level).detach()).clamp(0, 255) * step + low


class PublishedColumns:
    """The text columns of one training step at each precision.

    In the variant `pr3655`, a precision depends on the one that was requested before it.

    Args:
        floats: Float embeddings of each column, (n, dim).
        variant: One of VARIANTS.
        ranges: Ranges by precision that replace the batch's extremes.
    """

    def __init__(self, floats: list[Tensor], variant: str, ranges: Mapping[str, Any] | None = None) -> None:
        self.floats = floats
        self.ranges = ranges or {}
        self.written = floats
        self.chained = VARIANTS[variant]

    def at(self, precision: str) -> list[Tensor]:
        """Return each column quantized to a precision; where chained, from the output of the precision before."""
        if precision == "float32":
            return self.floats
        inputs = self.written if self.chained else self.floats
        ranges = self.ranges.get(precision)
        self.written = [fake_quantize_pr3655(column, precision, ranges) for column in inputs]
        return self.written


def check_variant(loss: Any) -> None:
    """Raise ValueError for settings of a QuantizationAwareLoss that its variant does not support."""
    variant = loss.variant
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant '{variant}'; valid: {', '.join(VARIANTS)}")
    if loss.uses_gradient_cache:
        raise ValueError(
            f"variant '{variant}' reproduces the pull request's loss, which has no gradient cache; wrap a loss that is not cached"
        )
    for query, document in loss.sides.values():
        if query != document or query not in PRECISIONS:
            raise ValueError(
                f"variant '{variant}' supports {', '.join(PRECISIONS)}, each for queries and documents alike"
            )
    if set(loss.ranges.names().values()) - {BATCH, RunningRange.__name__} or type(loss.estimator) is not Identity:
        raise ValueError(
            f"variant '{variant}' has its own gradients and supports only batch ranges and RunningRange; give one of "
            "these, and leave estimator out"
        )
    if loss.centring is not None:
        raise ValueError(f"variant '{variant}' does not support centring; leave centring out")
    if loss.margin_ranking is not None or any(loss.regularization.weights().values()):
        raise ValueError(
            f"variant '{variant}' reproduces the pull request's loss; leave regularization and margin_ranking out"
        )
