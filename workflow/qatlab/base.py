"""Base class of the configuration models, which refuse unknown keys and are immutable, and the types of names in them."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from qatlab.errors import is_plain

LONGEST_NAME = 96  # characters; names of folders and rows contain several names
LONGEST_LINE = 500
LONGEST_TEXT = 10_000
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Strict(BaseModel):
    """Base class of the sections of a configuration. Misspelt keys are refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a file and of a column, and a single word of a shell command."""
    return bool(NAME.fullmatch(text)) and ".." not in text and len(text) <= LONGEST_NAME


def is_variant(text: str) -> bool:
    """Return whether a text is a name or NAME:SCHEME, such as a method with the scheme of weights that it trains: `baseline:int8`."""
    parts = text.split(":")
    return len(parts) <= 2 and all(map(is_name, parts)) and len(text) <= LONGEST_NAME


def is_hub_id(text: str) -> bool:
    """Return whether a text is a hub id OWNER/NAME, or the NAME of one of the hub's oldest repositories, which have no owner."""
    parts = text.split("/")
    return len(parts) <= 2 and all(map(is_name, parts))


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(
            f"a name consists of ASCII letters, digits, '_', '-' and '.' (the last two not first, no '..'), at most {LONGEST_NAME} of them"
        )
    return text


def _variant(text: str) -> str:
    if not is_variant(text):
        raise ValueError(
            "a name consists of ASCII letters, digits, '_', '-' and '.' (the last two not first, no '..'), and at most one ':' before a "
            f"scheme of weights; at most {LONGEST_NAME} characters"
        )
    return text


def _hub_id(text: str) -> str:
    if not is_hub_id(text):
        raise ValueError("a hub id is OWNER/NAME, and consists of ASCII letters, digits, '_', '-' and '.' (no '..')")
    return text


def _plain(text: str) -> str:
    if not is_plain(text):
        raise ValueError("it must be one line without control characters")
    return text


Name = Annotated[str, AfterValidator(_name)]
VariantName = Annotated[str, AfterValidator(_variant)]
HubId = Annotated[str, AfterValidator(_hub_id)]
Line = Annotated[str, Field(max_length=LONGEST_LINE), AfterValidator(_plain)]
FullLine = Annotated[Line, Field(min_length=1)]
LocalPath = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_plain)]
