"""Measurement of the time that queries take, without the work done once for all queries, such as reading documents."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

NOT_TIMED: AbstractContextManager[Any] = nullcontext()


class Stopwatch(AbstractContextManager["Stopwatch", None]):
    """Context manager that adds up the time spent in its `with` blocks.

    Attributes:
        seconds: Total time so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._began
