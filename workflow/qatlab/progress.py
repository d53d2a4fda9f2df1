"""What a person sees while a stage runs: a few lines on the terminal; everything else goes to the log file."""

import logging
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qatlab.errors import printable

LINES_SHOWN_ON_FAILURE = 12
SECONDS_BETWEEN_LINES = 5.0

_terminal: int | None = None
_left_in: int | None = None  # in a process that speaks through another
_silent = False  # in a process that others speak for


@contextmanager
def output_to(log: Path | None) -> Iterator[None]:
    """Sends stdout and stderr, of libraries and child processes too, to `log`; `say` still reaches the terminal."""
    global _terminal
    if log is None:
        yield
        return
    os.environ.setdefault(
        "HF_HUB_DISABLE_PROGRESS_BARS", "1"
    )  # of Transformers too: in a file, they are thousands of lines
    log.parent.mkdir(parents=True, exist_ok=True)
    _terminal = os.dup(2)
    saved = os.dup(1)
    with log.open("wb") as stream:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            yield
        finally:
            for printed in (sys.stdout, sys.stderr):
                with suppress(OSError):  # on a full disk
                    printed.flush()
            os.dup2(saved, 1)
            os.dup2(_terminal, 2)
            os.close(saved)
            os.close(_terminal)
            _terminal = None


class _Shown(logging.Handler):
    """Handler that shows warnings to the person at the terminal."""

    def __init__(self, what: str) -> None:
        super().__init__(logging.WARNING)
        self.what = what

    def emit(self, record: logging.LogRecord) -> None:
        """Show one warning."""
        say(f"{self.what}: {record.getMessage()}")


def show_warnings(logger: str, what: str) -> None:
    """Show a logger's warnings on the terminal, each after `what`, instead of in the log file alone."""
    logging.getLogger(logger).handlers = [_Shown(what)]


@contextmanager
def warnings_withheld(logger: str) -> Iterator[None]:
    """Hide Python's warnings, and messages of a logger below the level of errors, while open."""
    withheld = logging.getLogger(logger)
    level = withheld.level
    withheld.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        withheld.setLevel(level)


def say(line: str) -> None:
    """One line for the person at the terminal, and for the log; control characters in it are shown, not obeyed."""
    line = printable(line)
    if _left_in is not None:
        os.write(_left_in, f"{line}\n".encode())
    if _left_in is not None or _silent:
        return
    with suppress(OSError):  # on a full disk; the person still reads it
        print(line, file=sys.stderr, flush=True)
    if _terminal is not None:
        os.write(_terminal, f"{line}\n".encode())


def leave_in(file: Path | None) -> None:
    """From now on, `say` leaves lines in a file, for another process to say; or, where None, nothing is said."""
    global _left_in, _silent
    _left_in = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if file is not None else None
    _silent = file is None


def last_lines(log: Path) -> list[str]:
    """The end of a log, for the screen."""
    with log.open(encoding="utf-8", errors="replace") as stream:
        return [line.rstrip() for line in deque(stream, LINES_SHOWN_ON_FAILURE)]


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Pace:
    """Says whether it is time for another line."""

    def __init__(self) -> None:
        self.last = 0.0

    def due(self) -> bool:
        """True at most every SECONDS_BETWEEN_LINES seconds."""
        now = time.monotonic()
        if now - self.last < SECONDS_BETWEEN_LINES:
            return False
        self.last = now
        return True
