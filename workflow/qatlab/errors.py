"""Exceptions that are shown as one line, never as a traceback; detection of full disks; texts made safe for a terminal."""

import errno
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")  # environment variables
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (including direction), surrogates, line separators


LONGEST_WORD = 300  # characters of a message without a space


class UserError(Exception):
    """Mistake in a study, a path or a name.

    Args:
        message: what is wrong and what to do. Of a value without spaces that is longer than LONGEST_WORD, the middle is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(re.sub(rf"\S{{{LONGEST_WORD + 1},}}", _without_middle, message))


def _without_middle(word: re.Match[str]) -> str:
    half = LONGEST_WORD // 2 - 1
    return f"{word[0][:half]}…{word[0][-half:]}"


class Diverged(UserError):
    """Divergence of a training, which was ended because its loss became NaN or exploded.

    Args:
        message: the run, the step and what to change.
        step: the optimizer step.
        checkpoint: path of the last good checkpoint, if there is one.
    """

    def __init__(self, message: str, step: int, checkpoint: str | None) -> None:
        super().__init__(message)
        self.step, self.checkpoint = step, checkpoint


class Stopped(Exception):
    """End of a process that received a signal and has saved its progress.

    Args:
        message: where it stopped, and from where the same command resumes.
        signal: number of the signal.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


def unknown(kind: str, name: object, valid: Iterable[str]) -> UserError:
    """Return the error for an unknown name, which suggests the nearest valid name and lists all valid names.

    Args:
        kind: what the name is the name of, such as 'method'.
        name: the unknown name.
        valid: the valid names.
    """
    choices = sorted(valid)
    near = get_close_matches(str(name), choices, n=1, cutoff=0.6)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return UserError(f"unknown {kind} '{name}'{hint}; valid: {', '.join(choices)}")


def is_plain(text: str) -> bool:
    """Return whether a text is one line without characters that a terminal interprets instead of showing them."""
    return not any(unicodedata.category(letter) in UNSEEN for letter in text)


def printable(text: object) -> str:
    r"""Return a text as one line in which control characters are escaped: `\x1b[31m`, `\n`, `\u202e`."""
    shown = str(text)
    if is_plain(shown):
        return shown
    return "".join(letter if is_plain(letter) else _escaped(letter) for letter in shown)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def without_secrets(text: str) -> str:
    """Return a library's text, in which the values of secret environment variables are replaced by their names."""
    for name in SECRETS:
        secret = os.environ.get(name, "").strip()
        for spelling in {secret, repr(secret)[1:-1]} - {""}:
            text = text.replace(spelling, f"<{name}>")
    return text


FULL = (errno.ENOSPC, errno.EDQUOT)
NO_SPACE = "No space left"
LITTLE = 64 * 1024  # bytes; with less free space, a failed write is attributed to the full disk


def full(error: BaseException, folder: Path) -> UserError | None:
    """Return a one-line error for an error that a full disk caused, and None for other errors.

    Args:
        error: The error, whose causes are examined too.
        folder: A folder on the disk that was written to; it need not exist.
    """
    line = UserError(
        f"no space is left on the disk of {folder.absolute().parent}; free some space, and start the command again"
    )
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in FULL or NO_SPACE in str(cause):
            return line
        cause = cause.__cause__ or cause.__context__
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return line if isinstance(error, Exception) and shutil.disk_usage(existing).free < LITTLE else None
