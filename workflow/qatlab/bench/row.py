"""A line of results/bench.csv."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """Ours over a reference's, both medians of one run.

    Attributes:
        bound: what the ratio should not exceed.
        unit: of ours and reference.
        reference_is: what ours is compared with.
    """

    name: str
    ours: float
    reference: float
    bound: float
    unit: str
    reference_is: str

    @property
    def ratio(self) -> float:
        """Ours / reference."""
        return self.ours / self.reference

    def as_dict(self) -> dict[str, Any]:
        """In the order of the file's columns."""
        values = asdict(self)
        order = ("name", "ours", "reference", "ratio", "bound", "unit", "reference_is")
        return {column: self.ratio if column == "ratio" else values[column] for column in order}


def in_turns(ours: Callable[[], Any], reference: Callable[[], Any], pairs: int) -> tuple[float, float]:
    """Median seconds of each, run in turns so that both meet the same machine; who goes first changes every time.

    One call of each beforehand is not counted: it pays for memory and warm caches.
    """
    ours()
    reference()
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for pair in range(pairs):
        for which in ((0, 1), (1, 0))[pair % 2]:
            began = time.perf_counter()
            (ours, reference)[which]()
            seconds[which].append(time.perf_counter() - began)
    return statistics.median(seconds[0]), statistics.median(seconds[1])
