"""Rows of results/bench.csv, and interleaved measurement of two calls."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Row:
    """Row that compares a measurement of qatlab with that of a reference.

    Attributes:
        name: name of the measurement.
        ours: measurement of qatlab, the median of one run.
        reference: measurement of the reference, the median of the same run.
        bound: largest allowed ratio; None for a row without one.
        unit: unit of both measurements.
        reference_is: description of the reference.
    """

    name: str
    ours: float
    reference: float
    bound: float | None
    unit: str
    reference_is: str

    @property
    def ratio(self) -> float:
        """Return ours / reference."""
        return self.ours / self.reference

    @property
    def above(self) -> bool:
        """Return whether the ratio exceeds its bound."""
        return self.bound is not None and self.ratio > self.bound

    def as_dict(self) -> dict[str, Any]:
        """Return the values by column, in the order of the file's columns."""
        values = asdict(self)
        order = ("name", "ours", "reference", "ratio", "bound", "unit", "reference_is")
        return {column: self.ratio if column == "ratio" else values[column] for column in order}


def in_turns(ours: Callable[[], Any], reference: Callable[[], Any], pairs: int) -> tuple[float, float]:
    """Return the median seconds of two calls, which alternate so that both run under the same conditions.

    The order is reversed in every second pair. The first call of each is not measured, because it includes the costs of memory
    allocation and cold caches.

    Args:
        ours: the call of qatlab.
        reference: the call of the reference.
        pairs: number of measured calls of each.
    """
    return medians(partial(_seconds, ours), partial(_seconds, reference), pairs)


def medians(ours: Callable[[], float], reference: Callable[[], float], pairs: int) -> tuple[float, float]:
    """Return the medians of the values that two alternating calls return, such as seconds that they measure themselves.

    Args:
        ours: the call of qatlab.
        reference: the call of the reference.
        pairs: number of counted calls of each, after one that is not counted.
    """
    ours()
    reference()
    values: dict[int, list[float]] = {0: [], 1: []}
    for pair in range(pairs):
        for which in ((0, 1), (1, 0))[pair % 2]:
            values[which].append((ours, reference)[which]())
    return statistics.median(values[0]), statistics.median(values[1])


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
