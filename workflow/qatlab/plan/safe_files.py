"""Checks of configuration files before Hydra and OmegaConf read them: content that runs code, reads secrets or fills memory.

Only plain data pass: maps, lists, texts and numbers, of a limited size.
"""

import codecs
import re
import shlex
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml

from qatlab.errors import UserError, printable

LARGEST_FILE = 1_000_000  # bytes
LONGEST_OVERRIDE = 10_000  # characters
DEEPEST = 24  # nested maps and lists
MOST_NODES = 100_000  # maximum per file, where an alias counts as the nodes that it repeats
YAML_TAGS = "tag:yaml.org,2002:"
PLAIN_TAGS = {YAML_TAGS + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq")} | {"!"}
# Keys with which Hydra instantiates the objects that a file names, and reads files from other folders.
REFUSED_KEYS = re.compile(r"_(target|args|partial|recursive|convert)_|searchpath")
HYDRA = re.compile(r"/?hydra([./@].*)?")
OPENS = re.compile(r"[\\[({]")
START_OF_OVERRIDE = re.compile(r"[+~]*[\w./@:-]+=")

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class FileState(NamedTuple):
    """State of a file: its path, size and time of last change. A file with another state has changed."""

    path: Path
    size: int  # bytes
    modified: int  # ns since 1970

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return the present state of a file."""
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns)


def check_files(conf: Path) -> tuple[FileState, ...]:
    """Return the states of the YAML files below a folder.

    Raises:
        UserError: with file and line, for a file that contains more than plain data.
    """
    states = tuple(FileState.of(path) for path in sorted(conf.rglob("*.yaml")))
    for state in states:
        _check_file(state, state.path.relative_to(conf.parent).as_posix())
    return states


def split_overrides(text: str) -> list[str]:
    """Split the value of a command line's `overrides="key=value key2=value2"` at its blanks, as a shell does, but not inside brackets.

    Raises:
        UserError: for quotes that do not close.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise UserError(f'overrides "{text[:80]}": {str(error).lower()}') from None
    overrides: list[str] = []
    while parts:
        count = _closed_after(parts)
        overrides.append(" ".join(parts[:count]))
        parts = parts[count:]
    return overrides


def _closed_after(parts: list[str]) -> int:
    """Return the number of parts with which the brackets of the first part are closed; 1 if the next override begins before."""
    depth = 0
    for count, part in enumerate(parts, 1):
        if count > 1 and START_OF_OVERRIDE.match(part):
            return 1
        depth += sum(part.count(bracket) for bracket in "[({") - sum(part.count(bracket) for bracket in "])}")
        if depth <= 0:
            return count
    return 1


def with_closing_quotes(text: str) -> str:
    """Return the value of an entry of `--config` with the quotes at its end that Snakemake removed.

    Snakemake strips quotation marks from both ends of each value, so that `overrides="data.path='my file.csv'"` arrives without
    the last one.
    """
    outer, others, escaped = "", 0, False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\" and outer != "'":
            escaped = True
        elif character == outer:
            outer = ""
        elif character in "'\"" and not outer:
            outer, others = character, 0
        elif character in "'\"":
            others += 1
    if not outer:
        return text
    inner = {"'": '"', '"': "'"}[outer] if others % 2 else ""
    return text + inner + outer


def check_overrides(overrides: Iterable[str]) -> None:
    """Raise UserError for an override that is too long or nested too deeply to be parsed."""
    for override in overrides:
        if len(override) > LONGEST_OVERRIDE:
            raise UserError(
                f"override '{override[:40]}…' has {len(override):,} characters; at most {LONGEST_OVERRIDE:,}"
            )
        if len(OPENS.findall(override)) > DEEPEST and _depth(override) > DEEPEST:
            raise UserError(f"override '{override[:40]}…' is nested more than {DEEPEST} deep")


def check_override(key: str, value: Any) -> None:
    """Raise UserError for a parsed override with values that `check_values` refuses, or of a setting of Hydra itself."""
    if HYDRA.fullmatch(key):
        raise UserError(f"override of '{key[:80]}': this is a setting of Hydra itself, not of a study; remove it")
    check_values(dict.fromkeys(key.split(".")), key[:80])
    check_values(value, key[:80])


def check_values(value: Any, key: str = "configuration") -> None:
    """Raise UserError, with the key, for values that would be looked up outside the configuration or instantiated as objects.

    Args:
        value: builtin values, with unresolved interpolations.
        key: key of the value, for the message.
    """
    for place, text in _texts(value, key):
        if REFUSED_KEYS.fullmatch(text):
            raise UserError(
                f"{place}: '{text}' is not for studies: it would have Hydra load or run what it names; remove it"
            )
        if has_resolver(text):
            raise UserError(
                f"{place}: '{text[:80]}' would look up something outside the configuration (its environment, say); "
                "write the value itself, or ${KEY} for that of another key"
            )


def has_resolver(text: str) -> bool:
    """Return whether OmegaConf would call a function for a text, as for ${oc.env:HOME}; ${model.name} only refers to a key."""
    depth = 0
    for at, letter in enumerate(text):
        if text.startswith("${", at):
            depth += 1
        elif letter == "}":
            depth = max(depth - 1, 0)
        elif letter == ":" and depth:
            return True
    return False


@cache
def _check_file(state: FileState, name: str) -> None:
    if state.size > LARGEST_FILE:
        raise UserError(f"{name} has {state.size:,} bytes; a file of the configuration has at most {LARGEST_FILE:,}")
    try:
        with state.path.open("rb") as stream:
            # Hydra does not recognize the file's first line after a byte-order mark.
            if stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
                raise UserError(f"{name} begins with a byte-order mark; save it as UTF-8 without one")
            stream.seek(0)
            _check_events(yaml.parse(stream, Loader=Loader), name)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        # PyYAML's own limit is reached before the first event.
        if "maximum nesting depth" in str(error) and mark is not None:
            raise UserError(f"{name}, line {mark.line + 1}: nested more than {DEEPEST} deep") from None
        raise UserError(f"{name} is not YAML: {printable(' '.join(str(error).split()))}") from None


def _check_events(events: Iterable[Any], name: str) -> None:
    """Check the events of a YAML file in one pass that builds no objects: aliases are counted, not followed."""
    sizes: dict[str, int] = {}  # number of nodes of each anchor
    opened: list[tuple[str | None, int]] = []  # anchor of each enclosing collection, and number of nodes before it
    nodes = 0
    for event in events:
        where = f"{name}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.NodeEvent):
            nodes += _count(event, sizes, where)
        if nodes > MOST_NODES:
            raise UserError(
                f"{where}: more than {MOST_NODES:,} values, where an alias counts as the values that it repeats"
            )
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.pop(event.anchor or "", None)
            opened.append((event.anchor, nodes - 1))
            if len(opened) > DEEPEST:
                raise UserError(f"{where}: nested more than {DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor:
                sizes[anchor] = nodes - before


def _count(event: Any, sizes: dict[str, int], where: str) -> int:
    """Return the number of nodes that an event adds: one, or for an alias the number that it repeats."""
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in sizes:
            raise UserError(f"{where}: *{event.anchor} refers to a value that contains it, or to no value")
        return sizes[event.anchor]
    _check_node(event, where)
    if isinstance(event, yaml.ScalarEvent) and event.anchor:
        sizes[event.anchor] = 1
    return 1


def _check_node(event: Any, where: str) -> None:
    tag = getattr(event, "tag", None)
    if tag is not None and tag not in PLAIN_TAGS:
        raise UserError(f"{where}: tag '{tag.replace(YAML_TAGS, '!!')}' is not plain YAML; write the value itself")
    if isinstance(event, yaml.ScalarEvent):
        check_values(event.value, where)


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the key and the text of every text in a value, including its keys."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield key, str(name)
            yield from _texts(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            yield from _texts(inner, f"{key}[{at}]")


def _depth(text: str) -> int:
    depth = deepest = 0
    for letter in text:
        depth += (letter in "[({") - (letter in "])}")
        deepest = max(deepest, depth)
    return deepest
