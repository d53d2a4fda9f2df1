"""A line of results/bench.csv."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Row:
    """Ours over a reference's, both medians of one run.

    Attributes:
        bound: what the ratio should not exceed; None where the row is only to show.
        unit: of ours and reference.
        reference_is: what ours is compared with.
    """

    name: str
    ours: float
    reference: float
    bound: float | None
    unit: str
    reference_is: str

    @property
    def ratio(self) -> float:
        """Ours / reference."""
        return self.ours / self.reference

    @property
    def above(self) -> bool:
        """Whether the ratio exceeds its bound."""
        return self.bound is not None and self.ratio > self.bound

    def as_dict(self) -> dict[str, Any]:
        """In the order of the file's columns."""
        values = asdict(self)
        order = ("name", "ours", "reference", "ratio", "bound", "unit", "reference_is")
        return {column: self.ratio if column == "ratio" else values[column] for column in order}


def in_turns(ours: Callable[[], Any], reference: Callable[[], Any], pairs: int) -> tuple[float, float]:
    """Median seconds of each, run in turns so that both meet the same machine; who goes first changes every time.

    One call of each beforehand is not counted: it pays for memory and warm caches.
    """
    return medians(partial(_seconds, ours), partial(_seconds, reference), pairs)


def medians(ours: Callable[[], float], reference: Callable[[], float], pairs: int) -> tuple[float, float]:
    """As `in_turns`, of what calls return: seconds that they have measured themselves, for example."""
    ours()
    reference()
    found: dict[int, list[float]] = {0: [], 1: []}
    for pair in range(pairs):
        for which in ((0, 1), (1, 0))[pair % 2]:
            found[which].append((ours, reference)[which]())
    return statistics.median(found[0]), statistics.median(found[1])


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
