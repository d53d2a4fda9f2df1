"""Mistakes in a configuration, each described in one line with what would be right."""

from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

LONGEST_SHOWN = 100  # characters of a value that is refused


def describe(error: ValidationError, model: type[BaseModel], values: Any, prefix: str = "") -> str:
    """Describe the first mistake of a validation error in one line, and how many more there are.

    Args:
        model: the class that the values are no instance of.
        values: what was validated.
        prefix: what stands before the keys of the values, with a dot at its end.
    """
    first = error.errors()[0]
    path = [str(part) for part in _real_path(first["loc"], values) if part != "[key]"]
    key = prefix + ".".join(path)
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'{_hint(key, keys_at(model, path[:-1], values), model)}{more}"
    if first["type"] == "missing":
        return f"'{key}' is missing{more}"
    if first["type"] == "union_tag_not_found":
        group, _, name = key.rpartition(".")
        tag = first["ctx"]["discriminator"].strip("'")
        return f"'{key}' has keys but no {tag}: it is set and not chosen; add {name} to {group}=[…], or remove what sets it{more}"
    if first["type"] == "union_tag_invalid":
        tag = first["ctx"]["discriminator"].strip("'")
        return f"{key}.{tag}: '{first['ctx']['tag']}' is none; valid: {first['ctx']['expected_tags']}{more}"
    message = first["msg"].removeprefix("Value error, ")
    shown = repr(first["input"])
    shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"
    given = "" if isinstance(first["input"], dict | list) else f", not {shown}"
    return f"{key.rstrip('.') or 'configuration'}: {message}{given}{more}"


def _real_path(location: tuple[int | str, ...], values: Any) -> list[int | str]:
    """An error's location without the tags that pydantic adds for discriminated unions."""
    path: list[int | str] = []
    for index, part in enumerate(location):
        if isinstance(values, dict) and part in values:
            values = values[part]
        elif isinstance(values, list) and isinstance(part, int) and part < len(values):
            values = values[part]
        elif index < len(location) - 1:
            continue  # a union's tag
        path.append(part)
    return path


def _hint(key: str, valid: list[str], model: type[BaseModel]) -> str:
    """Return what might have been meant: a key of the same section, or else of another one."""
    section, dot, name = key.rpartition(".")
    near = get_close_matches(name, valid, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{section}{dot}{near[0]}'?"
    elsewhere = _keys_of_sections(model)
    near = get_close_matches(name, elsewhere, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{elsewhere[near[0]]}'?"
    return f"; valid here: {', '.join(valid)}" if valid else ""


def _keys_of_sections(model: type[BaseModel]) -> dict[str, str]:
    """Return by name the keys of a configuration's sections as a user writes them; the first section of several with one name."""
    keys: dict[str, str] = {}
    for section, field in model.model_fields.items():
        named = f"{section}.NAME" if get_origin(field.annotation) is dict else section
        for cls in _models(field.annotation):
            for name in cls.model_fields:
                keys.setdefault(name, f"{named}.{name}")
    return keys


def keys_at(model: type[BaseModel], path: list[str], values: Any) -> list[str]:
    """Return the keys that a section of a configuration takes.

    Args:
        model: the whole configuration's class.
        path: keys that lead to the section.
        values: the configuration, whose kinds (`source`, `backend`) say which class of several a section is of.
    """
    models = [model]
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
        fields = [cls.model_fields.get(key) for cls in models]
        inner = [found for field in fields if field is not None for found in _models(field.annotation)]
        models = [cls for cls in inner or models if _is_kind(cls, values)]  # a name, as in deploy.NAME, is no field
    return list(dict.fromkeys(name for cls in models for name in cls.model_fields))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the classes of configurations in a type, such as those of a union or of a dictionary's values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _is_kind(model: type[BaseModel], values: Any) -> bool:
    """Return whether the values' kind is that of a class; True where they have none."""
    for name in ("source", "backend", "kind"):
        field = model.model_fields.get(name)
        given = values.get(name) if isinstance(values, dict) else None
        if field is not None and given is not None and get_origin(field.annotation) is Literal:
            return given in get_args(field.annotation)
    return True
