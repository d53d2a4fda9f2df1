"""Failure marks: what a stage that failed leaves beside the artifact that it could not make, until it is tried again."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from qatlab.artifact import read_json, write_json
from qatlab.errors import Diverged, UserError

LETTERS = 300  # of a reason


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
    """`results/train/.<artifact>.failed.json`."""
    return output.with_name(f".{output.name}.failed.json")


def mark(output: Path, stage: str, label: str, error: Exception) -> None:
    """Leaves the mark: stage, label, the reason in one line and, of a training that diverged, the step and the last checkpoint.

    Args:
        output: the artifact's folder, as the stage was given it.
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
    except OSError:  # on a full disk; the person at the screen has read it
        new.unlink(missing_ok=True)


def unmark(output: Path) -> None:
    """Takes it away: another try begins."""
    mark_file(output).unlink(missing_ok=True)


def read_mark(output: Path) -> Mark | None:
    """Return the mark of an artifact's last try; None if there is none, or it cannot be read."""
    with suppress(OSError, ValueError, TypeError):
        return Mark(**read_json(mark_file(output)))
    return None


def _reason(error: Exception, label: str) -> str:
    """One line without the label, which stands beside it, and without paths that mean nothing elsewhere or later."""
    said = str(error).strip().partition("\n")[0]
    if not isinstance(error, UserError):
        said = f"{type(error).__name__}: {said}" if said else type(error).__name__
    said = _short(said.removeprefix(f"{label} "))
    return said if len(said) <= LETTERS else said[: LETTERS - 1] + "…"


def _short(text: str) -> str:
    """Paths as from the folder that this runs in."""
    return text.replace(f"{Path.cwd()}/", "")
