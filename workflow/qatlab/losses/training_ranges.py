"""Ranges and quantiles of integer grids during training."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qatlab.losses.processes import same_in_all_processes
from qatlab.machine.processes import rows_of_all
from qatlab.quantization.estimators import LearnedStep
from qatlab.quantization.precisions import QUANTILE, RANGED, UNIFORM
from qatlab.quantization.ranges import (
    FRACTIONS,
    GivenRange,
    QuantileRange,
    Range,
    Running,
    order_statistics,
    suited,
)

BATCH = "batch"


class TrainingRanges(nn.Module):
    """The ranges of a loss, one per precision: that of each batch, or one that is fitted, fixed, running or learned.

    Args:
        ranges: 'batch', a range, or a dictionary of these by precision.
        used: The integer precisions that need a range.
        dim: Number of dimensions of the embeddings, or None if unknown.

    Attributes:
        learned: Ranges with parameters, by precision.
        others: 'batch' and all other ranges, by precision.

    Raises:
        ValueError: For a range that is not fitted (a running one need not be), one that is fitted on another dimension, one with
            extremes where a precision needs quantiles, or one with quantiles where it needs extremes.
    """

    def __init__(self, ranges: Any, used: list[str], dim: int | None) -> None:
        super().__init__()
        given = ranges if isinstance(ranges, Mapping) else dict.fromkeys(used, ranges)
        for precision in given:
            if precision not in RANGED:
                raise ValueError(f"ranges are for {', '.join(RANGED)}, not for '{precision}'")
        chosen = {precision: _checked(given.get(precision, BATCH), precision, dim) for precision in used}
        self.learned = nn.ModuleDict({p: r for p, r in chosen.items() if isinstance(r, LearnedStep)})
        self.others = {p: r for p, r in chosen.items() if not isinstance(r, LearnedStep)}

    def by_precision(self) -> dict[str, Any]:
        """Return the range of each precision; 'batch' where each batch has its own."""
        return {**self.others, **dict(self.learned.items())}

    def for_batch(self, floats: list[Tensor], learn: bool) -> dict[str, Any]:
        """Return the range of each precision for one step.

        Args:
            floats: Float embeddings of each text column, (n, dim).
            learn: Whether running ranges first move towards this batch.
        """
        by_precision = self.by_precision()
        moving = {id(r): r for r in self._running() if not r.frozen and learn}
        need_statistics = [p for p, r in by_precision.items() if isinstance(r, str) or id(r) in moving]
        if not need_statistics:
            return by_precision
        columns = torch.cat([column.detach().float() for column in floats])
        extremes = _extremes(columns) if set(need_statistics) & set(UNIFORM) else None
        quantiles = _quantiles(columns) if set(need_statistics) & set(QUANTILE) else None
        for ranges in moving.values():
            batch: Any = quantiles if isinstance(ranges, QuantileRange) else extremes
            ranges.move(batch.statistics)
        batch_ranges = {p: quantiles if p in QUANTILE else extremes for p in need_statistics}
        return {p: batch_ranges[p] if isinstance(r, str) else r for p, r in by_precision.items()}

    def lasting(self) -> dict[str, Any]:
        """Return the ranges that last longer than a batch, by precision; they are saved with the model."""
        return {precision: ranges for precision, ranges in self.by_precision().items() if ranges != BATCH}

    def freeze(self) -> None:
        """End the training of running and learned ranges."""
        for ranges in self.lasting().values():
            ranges.freeze()

    def get_extra_state(self) -> Tensor:
        """Return the statistics of running ranges that have seen a batch, in the order of `others`: (rows, dim) float32."""
        statistics = [r.statistics for r in self._running() if r.low is not None]
        return torch.cat(statistics) if statistics else torch.empty(0)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the statistics that `get_extra_state` returned for ranges with the same settings."""
        if len(state):
            running = self._running()
            parts = state.split([len(FRACTIONS) if isinstance(r, QuantileRange) else 2 for r in running])
            for ranges, statistics in zip(running, parts, strict=True):
                ranges.take(statistics)

    def _running(self) -> list[Any]:
        return [ranges for ranges in self.others.values() if isinstance(ranges, Running)]

    def names(self) -> dict[str, str]:
        """Return 'batch' or the name of the range's class, by precision."""
        return {p: r if isinstance(r, str) else type(r).__name__ for p, r in self.by_precision().items()}


def _extremes(columns: Tensor) -> Range:
    """Return the minima and maxima over the batches of all processes."""
    return same_in_all_processes(GivenRange(*columns.aminmax(dim=0)))


def _quantiles(columns: Tensor) -> Range:
    """Return the quantiles over the batches of all processes, which have equal sizes, without synchronizing with a GPU."""
    ranges = QuantileRange()
    ranges.take(order_statistics(rows_of_all(columns)))
    return ranges


def _checked(ranges: Any, precision: str, dim: int | None) -> Any:
    if isinstance(ranges, str):
        if ranges != BATCH:
            raise ValueError(f"unknown ranges '{ranges}'; give 'batch' or a range of qatlab.quantization")
        return ranges
    checked: Any = suited(ranges, precision)
    if dim is not None and not (isinstance(checked, Running) and checked.low is None):
        checked.bounds(dim)  # raises for another dimension
    return checked
