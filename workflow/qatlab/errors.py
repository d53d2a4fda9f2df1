"""The one exception that means "the user can fix this": shown as one line, never as a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in a study, a path or a name. Its message says what is wrong and what would be right."""


def unknown(kind: str, name: object, valid: Iterable[str]) -> UserError:
    """An unknown name of some kind, the nearest valid one, and all the valid ones."""
    choices = sorted(valid)
    near = get_close_matches(str(name), choices, n=1, cutoff=0.6)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return UserError(f"unknown {kind} '{name}'{hint}; valid: {', '.join(choices)}")
