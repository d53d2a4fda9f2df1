"""The exceptions that are shown as one line, never as a traceback; and what others wrote, made fit for a terminal."""

import os
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")  # of the environment
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (also of direction), surrogates, separators of lines


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


def is_plain(text: str) -> bool:
    """Whether a text is one line without anything that a terminal would act on instead of showing it."""
    return not any(unicodedata.category(letter) in UNSEEN for letter in text)


def printable(text: object) -> str:
    r"""A text in one line, whose control characters are seen instead of obeyed: `\x1b[31m`, `\n`, `\u202e`."""
    shown = str(text)
    if is_plain(shown):
        return shown
    return "".join(letter if is_plain(letter) else _escaped(letter) for letter in shown)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def without_secrets(text: str) -> str:
    """A text of a library's, with the names of the environment's secrets where it quotes their values."""
    for name in SECRETS:
        secret = os.environ.get(name, "").strip()
        for form in {secret, repr(secret)[1:-1]} - {""}:
            text = text.replace(form, f"<{name}>")
    return text
