"""The exceptions that are shown as one line, never as a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in a study, a path or a name. Its message says what is wrong and what would be right."""


class Diverged(UserError):
    """A training has ended, because its loss is no number any more, or has exploded.

    Args:
        message: which one, where and what to change.
        step: the optimizer step.
        checkpoint: the last good one, if there is any.
    """

    def __init__(self, message: str, step: int, checkpoint: str | None) -> None:
        super().__init__(message)
        self.step, self.checkpoint = step, checkpoint


class Stopped(Exception):
    """The process was told to end, and has saved what it had done.

    Args:
        message: where it stopped, and where the same command goes on.
        signal: the number of the signal that told it.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


def unknown(kind: str, name: object, valid: Iterable[str]) -> UserError:
    """An unknown name of some kind, the nearest valid one, and all the valid ones."""
    choices = sorted(valid)
    near = get_close_matches(str(name), choices, n=1, cutoff=0.6)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return UserError(f"unknown {kind} '{name}'{hint}; valid: {', '.join(choices)}")
