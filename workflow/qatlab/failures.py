"""Failure marks: files that a failed stage leaves beside the artifact that it could not build, until the next attempt."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from qatlab.artifact import read_json, write_json
from qatlab.errors import Diverged, UserError

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
