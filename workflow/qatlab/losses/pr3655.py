"""Fake quantization as sentence-transformers' draft pull request 3655 does it, to reproduce what was published with it.

It differs from `qatlab.quantization` on purpose: values are rounded to the nearest of 256 levels between the minimum and
maximum of one column of one batch, through which gradients pass too, where evaluation rounds down over other ranges.
https://github.com/huggingface/sentence-transformers/pull/3655
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from qatlab.losses.training_ranges import BATCH
from qatlab.machine.processes import rows_of_all
from qatlab.quantization.estimators import Identity
from qatlab.quantization.ranges import Range, RunningRange

# Whether a precision reads what the one before it wrote: so first published, then fixed (hotchpotch, 15 February 2026).
VARIANTS = {"pr3655": True, "pr3655_cache_fixed": False}
PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")


def fake_quantize_pr3655(embeddings: Tensor, precision: str, ranges: Range | None = None) -> Tensor:
    """(n, dim) → (n, dim); straight-through, except that int8's range is part of the graph, where it is that of the batch.

    Args:
        ranges: what int8 is laid over instead, as in the pull request's thread for the staged warm-up (a moving average).
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
    """The columns of one step at each precision, in the order they are asked for."""

    def __init__(self, floats: list[Tensor], variant: str, ranges: Mapping[str, Any] | None = None) -> None:
        self.floats = floats
        self.ranges = ranges or {}
        self.written = floats
        self.chained = VARIANTS[variant]

    def at(self, precision: str) -> list[Tensor]:
        """Each column quantized; where chained, from what the precision before made of it."""
        if precision == "float32":
            return self.floats
        read = self.written if self.chained else self.floats
        ranges = self.ranges.get(precision)
        self.written = [fake_quantize_pr3655(column, precision, ranges) for column in read]
        return self.written


def check_variant(loss: Any) -> None:
    """Raise ValueError for settings of a QuantizationAwareLoss that its variant does not have."""
    variant = loss.variant
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant '{variant}'; valid: {', '.join(VARIANTS)}")
    if loss.uses_gradient_cache:
        raise ValueError(f"variant '{variant}' reproduces the pull request's loss without a gradient cache")
    for query, document in loss.sides.values():
        if query != document or query not in PRECISIONS:
            raise ValueError(f"variant '{variant}' knows {', '.join(PRECISIONS)}, for both sides alike")
    if set(loss.ranges.names().values()) - {BATCH, RunningRange.__name__} or type(loss.estimator) is not Identity:
        raise ValueError(
            f"variant '{variant}' has its own gradients, and ranges of a batch or running ones; leave estimator out"
        )
    if loss.centring is not None:
        raise ValueError(f"variant '{variant}' has no centring; leave centring out")
