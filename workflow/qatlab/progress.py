"""What a stage reports: lines on the terminal while it runs, its log, and the mark that it leaves when it fails."""

import logging
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from qatlab.artifact import read_json, write_json
from qatlab.errors import Diverged, UserError, printable

LINES_SHOWN_ON_FAILURE = 12
SECONDS_BETWEEN_LINES = 5.0

_terminal: int | None = None
_message_file: int | None = (
    None  # descriptor of the file that replaces the terminal in a process of a distributed training
)
_silent = False  # whether this process prints no messages


@contextmanager
def output_to(log: Path | None) -> Iterator[None]:
    """Redirect stdout and stderr, including those of libraries and child processes, to `log`; `say` still reaches the terminal."""
    global _terminal
    if log is None:
        yield
        return
    # Progress bars, also those of Transformers, would write thousands of lines to the file.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
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
                with suppress(OSError):  # The disk may be full.
                    printed.flush()
            os.dup2(saved, 1)
            os.dup2(_terminal, 2)
            os.close(saved)
            os.close(_terminal)
            _terminal = None


class _TerminalHandler(logging.Handler):
    """Handler that shows warnings on the terminal.

    Args:
        prefix: text that is put before each warning.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__(logging.WARNING)
        self.prefix = prefix

    def emit(self, record: logging.LogRecord) -> None:
        """Show one warning."""
        say(f"{self.prefix}: {record.getMessage()}")


def show_warnings(logger: str, prefix: str) -> None:
    """Show a logger's warnings on the terminal, each after `prefix`, instead of in the log file alone."""
    logging.getLogger(logger).handlers = [_TerminalHandler(prefix)]


@contextmanager
def warnings_hidden(logger: str) -> Iterator[None]:
    """Hide Python's warnings and a logger's messages below the level ERROR within the block."""
    hidden = logging.getLogger(logger)
    level = hidden.level
    hidden.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hidden.setLevel(level)


def say(line: str) -> None:
    """Print one line to the terminal and the log, with control characters escaped."""
    line = printable(line)
    if _message_file is not None:
        os.write(_message_file, f"{line}\n".encode())
    if _message_file is not None or _silent:
        return
    with suppress(OSError):  # The disk may be full; the terminal still shows the line.
        print(line, file=sys.stderr, flush=True)
    if _terminal is not None:
        os.write(_terminal, f"{line}\n".encode())


def redirect_messages(file: Path | None) -> None:
    """Make `say` append lines to a file from now on, which another process prints; with None, `say` prints nothing."""
    global _message_file, _silent
    _message_file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if file is not None else None
    _silent = file is None


def last_lines(log: Path) -> list[str]:
    """Return the last lines of a log, for the terminal."""
    with log.open(encoding="utf-8", errors="replace") as stream:
        return [line.rstrip() for line in deque(stream, LINES_SHOWN_ON_FAILURE)]


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Pace:
    """Limiter of the rate of progress lines."""

    def __init__(self) -> None:
        self.last = 0.0

    def due(self) -> bool:
        """Return True at most once every SECONDS_BETWEEN_LINES seconds."""
        now = time.monotonic()
        if now - self.last < SECONDS_BETWEEN_LINES:
            return False
        self.last = now
        return True


LETTERS = 300  # largest number of characters of a reason


class Mark(NamedTuple):
    """The failure of a stage.

    Attributes:
        reason: one line.
        step, checkpoint: of a training that diverged, the step and the path of the last checkpoint.
    """

    stage: str
    label: str
    reason: str
    step: int | None = None
    checkpoint: str | None = None


def mark_file(output: Path) -> Path:
    """Return the path of the mark, such as `results/train/.<artifact>.failed.json`."""
    return output.with_name(f".{output.name}.failed.json")


def mark(output: Path, stage: str, label: str, error: Exception) -> None:
    """Write the mark: stage, label, the reason in one line and, for a training that diverged, the step and the last checkpoint.

    Args:
        output: folder of the artifact.
        stage: name of the stage.
        label: name of the artifact, for messages.
        error: the error that ended the stage.
    """
    diverged = error if isinstance(error, Diverged) else None
    failure = Mark(
        stage,
        label,
        _reason(error, label),
        diverged.step if diverged else None,
        _short(diverged.checkpoint) if diverged and diverged.checkpoint else None,
    )
    new = mark_file(output).with_suffix(".new")
    try:
        write_json(new, failure._asdict())
        new.replace(mark_file(output))
    except OSError:  # The disk may be full; the error is also shown on the terminal.
        new.unlink(missing_ok=True)


def unmark(output: Path) -> None:
    """Remove the mark, because another attempt begins."""
    mark_file(output).unlink(missing_ok=True)


def read_mark(output: Path) -> Mark | None:
    """Return the mark of an artifact's last attempt; None if there is none, or it cannot be read."""
    with suppress(OSError, ValueError, TypeError):
        return Mark(**read_json(mark_file(output)))
    return None


def _reason(error: Exception, label: str) -> str:
    """Return the reason in one line, without the label, which is stored separately, and without paths of this machine."""
    reason = str(error).strip().partition("\n")[0]
    if not isinstance(error, UserError):
        reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    reason = _short(reason.removeprefix(f"{label} "))
    return reason if len(reason) <= LETTERS else reason[: LETTERS - 1] + "…"


def _short(text: str) -> str:
    """Return a text in which paths are relative to the working directory."""
    return text.replace(f"{Path.cwd()}/", "")
