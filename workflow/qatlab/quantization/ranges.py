"""Per-dimension value ranges that integer grids are laid over: fitted once, used for queries and documents alike."""

from pathlib import Path
from typing import Any

import numpy as np

from qatlab.quantization.backend import is_torch


class MinMaxRange:
    """Per-dimension minimum and maximum of the embeddings it was fitted on.

    Attributes:
        low, high: float32 arrays (dim,), NumPy or torch as the embeddings were. None before `fit`.
    """

    def __init__(self) -> None:
        self.low: Any = None
        self.high: Any = None

    def fit(self, embeddings: Any) -> "MinMaxRange":
        """Takes the extremes of `embeddings` (n, dim), float32; raises ValueError for NaN, Inf, or no rows."""
        if embeddings.ndim != 2 or len(embeddings) == 0:
            raise ValueError(
                f"ranges are fitted on embeddings of shape (n, dim) with n ≥ 1, not {tuple(embeddings.shape)}"
            )
        if is_torch(embeddings):
            low, high = embeddings.detach().float().aminmax(dim=0)
            finite = bool(low.isfinite().all() and high.isfinite().all())
        else:
            low, high = embeddings.min(axis=0).astype(np.float32), embeddings.max(axis=0).astype(np.float32)
            finite = bool(np.isfinite(low).all() and np.isfinite(high).all())
        if not finite:
            raise ValueError("embeddings hold NaN or Inf, so no range can be fitted")
        self.low, self.high = low, high
        return self

    def bounds(self, dim: int) -> tuple[Any, Any]:
        """(low, high), each (dim,); raises ValueError if not fitted, or fitted on another dimension."""
        if self.low is None:
            raise ValueError("this range is not fitted yet; call .fit(embeddings) first")
        if len(self.low) != dim:
            raise ValueError(f"this range was fitted on {len(self.low)} dimensions, the embeddings have {dim}")
        return self.low, self.high

    def save(self, path: Path) -> None:
        """Writes low and high to a .npz file."""
        low, high = self.bounds(len(self.low) if self.low is not None else 0)
        np.savez(path, low=np.asarray(low), high=np.asarray(high))

    @classmethod
    def load(cls, path: Path) -> "MinMaxRange":
        """Reads what `save` wrote (as NumPy arrays)."""
        ranges = cls()
        with np.load(path, allow_pickle=False) as arrays:
            ranges.low, ranges.high = arrays["low"], arrays["high"]
        return ranges
