"""The ranges and quantiles that integer grids have while a loss trains."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qatlab.losses.processes import same_in_all_processes
from qatlab.machine.processes import rows_of_all
from qatlab.quantization.learned_step import LearnedStep
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
    """One range per precision: of each batch, or one that is fitted, fixed, running or learned.

    Args:
        ranges: 'batch', a range, or a dictionary of these by precision.
        used: the integer precisions that need one.
        dim: dimensions of the embeddings, where known.

    Attributes:
        learned: those that are parameters, by precision.

    Raises:
        ValueError: for a range that is not fitted (a running one need not be), fitted on another dimension, or of extremes
            where a precision needs quantiles or the other way round.
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
        """All of them; 'batch' where each batch has its own."""
        return {**self.others, **dict(self.learned.items())}

    def of_batch(self, floats: list[Tensor], learn: bool) -> dict[str, Any]:
        """The range of each precision at this step. Running ranges first move towards this batch, where `learn`."""
        by_precision = self.by_precision()
        moving = {id(r): r for r in self._running() if not r.frozen and learn}
        waiting = [p for p, r in by_precision.items() if isinstance(r, str) or id(r) in moving]
        if not waiting:
            return by_precision
        columns = torch.cat([column.detach().float() for column in floats])
        extremes = _extremes(columns) if set(waiting) & set(UNIFORM) else None
        quantiles = _quantiles(columns) if set(waiting) & set(QUANTILE) else None
        for ranges in moving.values():
            batch: Any = quantiles if isinstance(ranges, QuantileRange) else extremes
            ranges.move(batch.statistics)
        of_batch = {p: quantiles if p in QUANTILE else extremes for p in waiting}
        return {p: of_batch[p] if isinstance(r, str) else r for p, r in by_precision.items()}

    def lasting(self) -> dict[str, Any]:
        """Those that are more than a batch's, by precision, to be saved with the model."""
        return {precision: ranges for precision, ranges in self.by_precision().items() if ranges != BATCH}

    def freeze(self) -> None:
        """Ends the training of running and learned ranges."""
        for ranges in self.lasting().values():
            ranges.freeze()

    def get_extra_state(self) -> Tensor:
        """Statistics of the running ranges that have seen a batch, in the order of `others`: (rows, dim) float32."""
        seen = [r.statistics for r in self._running() if r.low is not None]
        return torch.cat(seen) if seen else torch.empty(0)

    def set_extra_state(self, state: Tensor) -> None:
        """Takes what `get_extra_state` gave, of ranges that were made alike."""
        if len(state):
            running = self._running()
            parts = state.split([len(FRACTIONS) if isinstance(r, QuantileRange) else 2 for r in running])
            for ranges, statistics in zip(running, parts, strict=True):
                ranges.take(statistics)

    def _running(self) -> list[Any]:
        return [ranges for ranges in self.others.values() if isinstance(ranges, Running)]

    def names(self) -> dict[str, str]:
        """'batch' or the class, by precision."""
        return {p: r if isinstance(r, str) else type(r).__name__ for p, r in self.by_precision().items()}


def _extremes(columns: Tensor) -> Range:
    """Minima and maxima of the batches of all processes together."""
    return same_in_all_processes(GivenRange(*columns.aminmax(dim=0)))


def _quantiles(columns: Tensor) -> Range:
    """Quantiles of the batches of all processes together, which have as many rows each. Nothing waits for a GPU."""
    ranges = QuantileRange()
    ranges.take(order_statistics(rows_of_all(columns)))
    return ranges


def _checked(ranges: Any, precision: str, dim: int | None) -> Any:
    if isinstance(ranges, str):
        if ranges != BATCH:
            raise ValueError(f"unknown ranges '{ranges}'; give 'batch' or a range of qatlab.quantization")
        return ranges
    found: Any = suited(ranges, precision)
    if dim is not None and not (isinstance(found, Running) and found.low is None):
        found.bounds(dim)
    return found
