"""The ranges that integer grids are laid over while a loss trains."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qatlab.losses.processes import same_in_all_processes
from qatlab.quantization.learned_step import LearnedStep
from qatlab.quantization.precisions import RANGED
from qatlab.quantization.ranges import GivenRange, RunningRange, as_range

BATCH = "batch"


class TrainingRanges(nn.Module):
    """One range a precision: of each batch, or one that is fitted, fixed, running or learned.

    Args:
        ranges: 'batch', a range, or a dictionary of these by precision.
        used: the integer precisions that need one.
        dim: dimensions of the embeddings, where known.

    Attributes:
        learned: those that are parameters, by precision.

    Raises:
        ValueError: for a range that is not fitted (a running one need not be), or fitted on another dimension.
    """

    def __init__(self, ranges: Any, used: list[str], dim: int | None) -> None:
        super().__init__()
        given = ranges if isinstance(ranges, Mapping) else dict.fromkeys(used, ranges)
        for precision in given:
            if precision not in RANGED:
                raise ValueError(f"ranges are for {', '.join(RANGED)}, not for '{precision}'")
        chosen = {precision: _checked(given.get(precision, BATCH), dim) for precision in used}
        self.learned = nn.ModuleDict({p: r for p, r in chosen.items() if isinstance(r, LearnedStep)})
        self.others = {p: r for p, r in chosen.items() if not isinstance(r, LearnedStep)}

    def by_precision(self) -> dict[str, Any]:
        """All of them; 'batch' where each batch has its own."""
        return {**self.others, **dict(self.learned.items())}

    def of_batch(self, floats: list[Tensor], learn: bool) -> dict[str, Any]:
        """What each precision is laid over now. Running ranges first move towards this batch, where `learn`."""
        running = {id(r): r for r in self.others.values() if isinstance(r, RunningRange) and not r.frozen and learn}
        by_precision = self.by_precision()
        if BATCH not in self.others.values() and not running:
            return by_precision
        low, high = torch.cat([column.detach().float() for column in floats]).aminmax(dim=0)
        batch = same_in_all_processes(GivenRange(low, high))
        for ranges in running.values():
            ranges.move(batch.low, batch.high)
        return {precision: batch if isinstance(r, str) else r for precision, r in by_precision.items()}

    def lasting(self) -> dict[str, Any]:
        """Those that are more than a batch's, by precision, to be saved with the model."""
        return {precision: ranges for precision, ranges in self.by_precision().items() if ranges != BATCH}

    def freeze(self) -> None:
        """Ends the training of running and learned ranges."""
        for ranges in self.lasting().values():
            ranges.freeze()

    def get_extra_state(self) -> Tensor:
        """Low and high of the running ranges that have seen a batch, in the order of `others`: (ranges, 2, dim) float32."""
        bounds = [torch.stack([r.low, r.high]) for r in self._running() if r.low is not None]
        return torch.stack(bounds) if bounds else torch.empty(0)

    def set_extra_state(self, state: Tensor) -> None:
        """What `get_extra_state` gave, of ranges that were made alike."""
        for ranges, (low, high) in zip(self._running(), state, strict=len(state) > 0):
            ranges.low, ranges.high = low, high

    def _running(self) -> list[Any]:
        return [ranges for ranges in self.others.values() if isinstance(ranges, RunningRange)]

    def names(self) -> dict[str, str]:
        """'batch' or the class, by precision."""
        return {p: r if isinstance(r, str) else type(r).__name__ for p, r in self.by_precision().items()}


def _checked(ranges: Any, dim: int | None) -> Any:
    if isinstance(ranges, str):
        if ranges != BATCH:
            raise ValueError(f"unknown ranges '{ranges}'; give 'batch' or a range of qatlab.quantization")
        return ranges
    found: Any = as_range(ranges)
    if dim is not None and not (isinstance(found, RunningRange) and found.low is None):
        found.bounds(dim)
    return found
