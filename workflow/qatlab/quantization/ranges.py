"""Per-dimension value ranges that integer grids are laid over: fitted once, saved, used for queries and documents alike."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from qatlab.quantization.backend import NotFiniteError, is_torch

RANGES = "quantization_ranges"  # the folder of a model's own ranges, within the model's
NOT_FINITE = "embeddings hold NaN or Inf (or span more than float32 can), so no range can be fitted"


def extremes(embeddings: Any) -> tuple[Any, Any]:
    """Minimum and maximum of each dimension, float32 (dim,), of (n, dim) NumPy or torch."""
    if is_torch(embeddings):
        low, high = embeddings.aminmax(dim=0)
        return low, high
    return embeddings.min(axis=0).astype(np.float32), embeddings.max(axis=0).astype(np.float32)


class Range(ABC):
    """What all ranges share.

    Attributes:
        low, high: float32 (dim,), NumPy or torch as the embeddings were; None before `fit`.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.low: Any = None
        self.high: Any = None
        self.frozen = False

    def fit(self, embeddings: Any) -> Self:
        """Takes the range of `embeddings`, (n, dim) NumPy or torch; raises ValueError for NaN, Inf, or no rows."""
        if embeddings.ndim != 2 or len(embeddings) == 0:
            raise ValueError(
                f"ranges are fitted on embeddings of shape (n, dim) with n ≥ 1, not {tuple(embeddings.shape)}"
            )
        low, high = self._bounds_of(embeddings.detach().float() if is_torch(embeddings) else embeddings)
        with np.errstate(over="ignore", invalid="ignore"):
            spread = high - low
        if not bool((spread.isfinite() if is_torch(spread) else np.isfinite(spread)).all()):
            raise NotFiniteError(NOT_FINITE)
        self._take(low, high)
        return self

    def bounds(self, dim: int) -> tuple[Any, Any]:
        """(low, high), each (dim,); raises ValueError if not fitted, or fitted on another dimension."""
        if self.low is None:
            raise ValueError(f"this {type(self).__name__} is not fitted yet; call .fit(embeddings) first")
        if len(self.low) != dim:
            raise ValueError(f"this range was fitted on {len(self.low)} dimensions, the embeddings have {dim}")
        return self.low, self.high

    def save(self, path: Path) -> None:
        """Writes the kind, low and high to a .npz file; raises ValueError if not fitted."""
        if self.low is None:
            raise ValueError(f"this {type(self).__name__} is not fitted yet; call .fit(embeddings) before saving it")
        low, high = (bound.detach().cpu().numpy() if is_torch(bound) else bound for bound in (self.low, self.high))
        np.savez(path, kind=np.array(self.kind), low=low, high=high)

    @staticmethod
    def load(path: Path) -> "Range":
        """Reads what `save` wrote: a range of the same kind with NumPy bounds, final."""
        with np.load(path, allow_pickle=False) as arrays:
            ranges = KINDS[str(arrays["kind"])]()
            ranges.low, ranges.high = arrays["low"], arrays["high"]
        ranges.freeze()
        return ranges

    def freeze(self) -> None:
        """Ends what a range learns during training: from now on a RunningRange's `fit` raises ValueError."""
        self.frozen = True

    @abstractmethod
    def _bounds_of(self, embeddings: Any) -> tuple[Any, Any]:
        """(low, high) of (n, dim) embeddings."""

    def _take(self, low: Any, high: Any) -> None:
        self.low, self.high = low, high


class MinMaxRange(Range):
    """Per-dimension minimum and maximum."""

    kind = "minmax"

    def _bounds_of(self, embeddings: Any) -> tuple[Any, Any]:
        return extremes(embeddings)


class PercentileRange(Range):
    """Per-dimension percentiles, linearly interpolated: `outside` percent of the values clip, half at each end."""

    kind = "percentile"

    def __init__(self, outside: float = 0.2) -> None:
        super().__init__()
        if not 0 <= outside < 100:
            raise ValueError(f"outside must be a percentage from 0 to below 100, not {outside}")
        self.outside = outside

    def _bounds_of(self, embeddings: Any) -> tuple[Any, Any]:
        if is_torch(embeddings):
            import torch

            bounds = self._bounds_of(embeddings.cpu().numpy())
            low, high = (torch.from_numpy(bound).to(embeddings.device) for bound in bounds)
            return low, high
        if not np.isfinite(embeddings).all():
            raise NotFiniteError(NOT_FINITE)
        tail = self.outside / 2
        low, high = np.percentile(embeddings.astype(np.float64), [tail, 100 - tail], axis=0).astype(np.float32)
        return low, high


class SymmetricRange(Range):
    """±max |value| of each dimension, so that 0 lies in the middle of the grid."""

    kind = "symmetric"

    def _bounds_of(self, embeddings: Any) -> tuple[Any, Any]:
        low, high = extremes(embeddings)
        largest = (-low).maximum(high) if is_torch(low) else np.maximum(-low, high)
        return -largest, largest


class FixedRange(Range):
    """±limit in every dimension, whatever the embeddings: nothing to fit.

    snowflake-arctic-embed-m-v1.5 publishes ±0.18 (https://huggingface.co/Snowflake/snowflake-arctic-embed-m-v1.5).
    """

    kind = "fixed"

    def __init__(self, limit: float = 0.18) -> None:
        super().__init__()
        if not 0 < limit < float("inf"):
            raise ValueError(f"limit must be a positive number, not {limit}")
        self.low, self.high = (np.array([bound], dtype=np.float32) for bound in (-limit, limit))

    def fit(self, embeddings: Any) -> Self:
        """Nothing to fit."""
        return self

    def _bounds_of(self, embeddings: Any) -> tuple[Any, Any]:
        return self.low, self.high

    def bounds(self, dim: int) -> tuple[Any, Any]:
        """−limit and +limit, each (dim,)."""
        return np.repeat(self.low, dim), np.repeat(self.high, dim)


class RunningRange(Range):
    """Exponential moving average of the minima and maxima of training's batches, until frozen.

    Each `fit` moves the range by (1 − momentum) towards the batch; the first takes it as it is.
    """

    kind = "running"

    def __init__(self, momentum: float = 0.99) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, not {momentum}")
        self.momentum = momentum

    def _bounds_of(self, embeddings: Any) -> tuple[Any, Any]:
        return extremes(embeddings)

    def move(self, low: Any, high: Any) -> None:
        """As `fit` on embeddings with these extremes, which are not looked at: nothing waits for a GPU."""
        self._take(low, high)

    def _take(self, low: Any, high: Any) -> None:
        if self.frozen:
            raise ValueError("this RunningRange is frozen; it learns from no more embeddings")
        if self.low is not None:
            low = self.momentum * self.low + (1 - self.momentum) * low
            high = self.momentum * self.high + (1 - self.momentum) * high
        self.low, self.high = low, high


KINDS: dict[str, type[Range]] = {
    ranges.kind: ranges for ranges in (MinMaxRange, PercentileRange, SymmetricRange, FixedRange, RunningRange)
}


class GivenRange(MinMaxRange):
    """Extremes that somebody computed elsewhere."""

    def __init__(self, low: Any, high: Any) -> None:
        super().__init__()
        self.low, self.high = low, high


def as_range(ranges: Any) -> Range:
    """A range as it is; an array (2, dim) of minima and maxima, as sentence-transformers takes it, as a range.

    Raises:
        ValueError: for another shape, or a minimum above its maximum.
        TypeError: for what is neither.
    """
    if hasattr(ranges, "bounds"):
        found: Range = ranges
        return found
    if getattr(ranges, "ndim", None) is None:
        raise TypeError(
            f"ranges must be a fitted range or an array (2, dim) of minima and maxima, not {type(ranges).__name__}"
        )
    if ranges.ndim != 2 or len(ranges) != 2:
        raise ValueError(
            f"ranges given as an array must have shape (2, dim): minima and maxima, not {tuple(ranges.shape)}"
        )
    if not bool((ranges[0] <= ranges[1]).all()):
        raise ValueError("ranges[0] must hold the minima and ranges[1] the maxima, without NaN")
    return GivenRange(ranges[0], ranges[1])
