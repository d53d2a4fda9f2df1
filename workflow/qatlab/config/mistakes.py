"""Descriptions of mistakes in a configuration: one line that states the mistake and its correction."""

from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

LONGEST_SHOWN = 100  # characters of an invalid value that a message quotes


def describe(error: ValidationError, model: type[BaseModel], values: Any, prefix: str = "") -> str:
    """Describe the first mistake of a validation error in one line, followed by the number of further mistakes.

    Args:
        error: The error that pydantic raised.
        model: The class that `values` were validated against.
        values: The values that were validated.
        prefix: Path of the section that contains the values, ending with a dot; it precedes every key in the description.
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
        return (
            f"'{key}' has keys but no {tag}: its keys are set although it was not selected; add {name} to {group}=[…], "
            f"or remove the keys{more}"
        )
    if first["type"] == "union_tag_invalid":
        tag = first["ctx"]["discriminator"].strip("'")
        return f"{key}.{tag}: unknown value '{first['ctx']['tag']}'; valid: {first['ctx']['expected_tags']}{more}"
    message = first["msg"].removeprefix("Value error, ")
    shown = repr(first["input"])
    shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"
    given = "" if isinstance(first["input"], dict | list) else f", not {shown}"
    return f"{key.rstrip('.') or 'configuration'}: {message}{given}{more}"


def _real_path(location: tuple[int | str, ...], values: Any) -> list[int | str]:
    """Return an error's location without the tags that pydantic adds for discriminated unions."""
    path: list[int | str] = []
    for index, part in enumerate(location):
        if isinstance(values, dict) and part in values:
            values = values[part]
        elif isinstance(values, list) and isinstance(part, int) and part < len(values):
            values = values[part]
        elif index < len(location) - 1:
            continue  # the part is the tag of a union, not a key
        path.append(part)
    return path


def _hint(key: str, valid: list[str], model: type[BaseModel]) -> str:
    """Return a suggestion for an unknown key: the most similar key of the same section, or else of another section.

    Args:
        key: The unknown key with its path.
        valid: Keys of the section that contains it.
        model: The class of the whole configuration, whose other sections are searched too.
    """
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
    """Map the name of each key of a configuration's sections to its full path, such as `batch_size` to `trainer.batch_size`.

    Where several sections have a key of the same name, the path leads to the first of them.
    """
    keys: dict[str, str] = {}
    for section, field in model.model_fields.items():
        named = f"{section}.NAME" if get_origin(field.annotation) is dict else section
        for cls in _models(field.annotation):
            for name in cls.model_fields:
                keys.setdefault(name, f"{named}.{name}")
    return keys


def keys_at(model: type[BaseModel], path: list[str], values: Any) -> list[str]:
    """Return the valid keys of a section of a configuration.

    Args:
        model: The class of the whole configuration.
        path: Keys that lead to the section.
        values: The configuration; its keys `source`, `backend` and `kind` select the class of a section that has several.
    """
    models = [model]
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
        fields = [cls.model_fields.get(key) for cls in models]
        inner = [cls for field in fields if field is not None for cls in _models(field.annotation)]
        # A key that is not a field is the name of an entry, as in deploy.NAME; the classes stay the same.
        models = [cls for cls in inner or models if _is_kind(cls, values)]
    return list(dict.fromkeys(name for cls in models for name in cls.model_fields))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the configuration classes in a type annotation, such as the members of a union or the values of a dictionary."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _is_kind(model: type[BaseModel], values: Any) -> bool:
    """Return whether a class accepts the kind that the values have; True where they have none."""
    for name in ("source", "backend", "kind"):
        field = model.model_fields.get(name)
        given = values.get(name) if isinstance(values, dict) else None
        if field is not None and given is not None and get_origin(field.annotation) is Literal:
            return given in get_args(field.annotation)
    return True
