"""Sphinx extension that writes the reference from the code: configuration, choices, schemes, commands, tables and plots, Python API.

A page of docs/reference contains a line `<!-- generated: NAME -->`. While the site is built, the Markdown of the function that is
registered as NAME below takes the place of this line, so that the reference is never older than the code.
"""

import contextlib
import importlib
import inspect
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
WIDTH = 100  # columns of the help of a command
LONGEST = 60  # characters of an example that is taken from a file
PAGES: dict[str, Callable[[], Iterator[str]]] = {}
KINDS = ("source", "backend", "name")  # keys by which a section selects one of several classes
Schema = Mapping[str, Any]


def setup(app: Any) -> dict[str, bool]:
    """Connect the extension to Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def fill(app: Any, name: str, source: list[str]) -> None:
    """Replace each marker of a page by the generated Markdown."""
    source[0] = MARKER.sub(lambda match: "\n".join(PAGES[match.group(1)]()), source[0])


def page(name: str) -> Callable[[Callable[[], Iterator[str]]], Callable[[], Iterator[str]]]:
    """Return a decorator that registers a function, which yields lines of Markdown, by the name in markers."""

    def decorate(function: Callable[[], Iterator[str]]) -> Callable[[], Iterator[str]]:
        PAGES[name] = function
        return function

    return decorate


def escaped(text: str) -> str:
    """Return text on one line, in which Markdown's characters have no effect outside backticks."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else re.sub(r"([\\*\[\]<>|])", r"\\\1", part) for part in parts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, surrounded by empty lines."""
    yield from ("", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}")
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


# Configuration keys, from the JSON Schema that `qatlab schema` prints.


@page("configuration")
def configuration() -> Iterator[str]:
    """Yield every key of the configuration with its type, default, description and an example."""
    from qatlab.commands.plan import schema

    yield from ConfigurationKeys(schema(), list(configuration_files())).sections()


def configuration_files() -> Iterator[dict[str, Any]]:
    """Yield each file of conf/ as part of a complete configuration, with the keys of its group above its own."""
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        values.pop("defaults", None)
        group = file.parent.name
        yield values if group in ("conf", "study") else {group: values}


class ConfigurationKeys:
    """Writer of the sections of a configuration, one heading for each and one definition for each key.

    Args:
        schema: JSON Schema of the complete configuration.
        files: configurations from which examples are taken.
    """

    def __init__(self, schema: Schema, files: Sequence[dict[str, Any]]) -> None:
        self.root, self.definitions, self.files = schema, schema["$defs"], files
        self.places: dict[str, str] = {}

    def sections(self) -> Iterator[str]:
        """Yield the lines of all sections; a class that several keys share is described once."""
        properties = self.root["properties"]
        for key, value in properties.items():
            references = list(self._references(value))
            yield from ("", f"## {key}", "")
            if value.get("description"):
                yield from (escaped(value["description"]), "")
            if not references:
                yield from self._key((key,), value, key in self.root.get("required", []))
            path = (key, "NAME") if self._is_mapping(value) else (key,)
            for reference in references:
                yield from self._section(path, reference, several=len(references) > 1)

    def _section(self, path: tuple[str, ...], name: str, several: bool = False) -> Iterator[str]:
        """Yield the keys of a class and then the sections below it; nothing if it has been described before."""
        if name in self.places:
            return
        schema = self.definitions[name]
        shown = ".".join(path)
        kind = self._kind(schema) if several else ""
        anchor = f"{shown} ({kind})" if kind else shown
        self.places[name] = anchor
        if len(path) > 1 or kind:
            yield from ("", f"### `{shown}`" + (f", {kind}" if kind else ""), "")
        if schema.get("description"):
            yield from (escaped(schema["description"].partition("\n\n")[0]), "")
        below = []
        for key, value in schema.get("properties", {}).items():
            if kind and key in KINDS and "const" in value:
                continue
            yield from self._key((*path, key), value, key in schema.get("required", []))
            references = list(self._references(value))
            inner = (*path, key, "NAME") if self._is_mapping(value) else (*path, key)
            below += [(inner, reference, len(references) > 1) for reference in references]
        for inner, reference, has_kinds in below:
            yield from self._section(inner, reference, has_kinds)

    def _key(self, path: tuple[str, ...], value: Schema, required: bool = False) -> Iterator[str]:
        shown = ".".join(path)
        facts = [f"*Type:* {self._type(value)}"]
        facts.append("*required*" if required else f"*Default:* {self._default(value)}")
        example = self._example(path, value)
        facts += [f"*Example:* `{example}`"] if example else []
        yield f"[`{shown}`]{{#{shown}}}"
        if value.get("description"):
            yield f": {escaped(value['description'])}"
            yield ""
            yield f"  {' · '.join(facts)}"
        else:
            yield f": {' · '.join(facts)}"
        yield ""

    def _default(self, value: Schema) -> str:
        if "default" not in value:
            return "–"
        text = json.dumps(value["default"], ensure_ascii=False)
        return "as in the section below" if text.startswith("{") and text != "{}" else f"`{text}`"

    def _example(self, path: tuple[str, ...], value: Schema) -> str | None:
        """Return an assignment: a value that a file of conf/ gives, another choice, or a value within the bounds."""
        used = [given for file in self.files for given in _values_at(file, path) if given != value.get("default")]
        plain = [given for given in used if given not in (None, "???") and len(str(given)) < LONGEST]
        if plain:
            return _assignment(path, plain[0])
        for part in self._parts(value):
            choices = [choice for choice in part.get("enum", []) if choice != value.get("default")]
            if choices:
                return _assignment(path, choices[0])
            if part.get("type") == "boolean":
                return _assignment(path, not value.get("default", False))
        default = value.get("default")
        if default not in (None, [], {}) and not isinstance(default, dict):
            return _assignment(path, default)
        key = ".".join(path)
        return _assignment(path, EXAMPLES[key]) if key in EXAMPLES else None

    def _parts(self, value: Schema) -> Iterator[Schema]:
        """Yield the alternatives of a value."""
        alternatives = [*value.get("anyOf", []), *value.get("oneOf", [])]
        for part in alternatives or [value]:
            yield part if part is value else next(self._parts(part), part)

    def _references(self, value: Any) -> Iterator[str]:
        """Yield the names of the classes in a value."""
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"].rpartition("/")[2]
            for key, inner in value.items():
                if key not in ("default", "discriminator"):
                    yield from self._references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from self._references(inner)

    def _is_mapping(self, value: Schema) -> bool:
        return any(isinstance(part.get("additionalProperties"), dict) for part in self._parts(value))

    def _kind(self, schema: Schema) -> str:
        for key in KINDS:
            constant = schema.get("properties", {}).get(key, {}).get("const")
            if constant:
                return f"{key}: {constant}"
        return ""

    def _type(self, value: Schema) -> str:
        """Return the type of a value and its range in words."""
        alternatives = [*value.get("anyOf", []), *value.get("oneOf", [])]
        if alternatives:
            return " or ".join(dict.fromkeys(self._type(part) for part in alternatives))
        if "$ref" in value:
            name = value["$ref"].rpartition("/")[2]
            kind = self._kind(self.definitions[name])
            return f"section with `{kind}`" if kind else "section"
        if "const" in value:
            return f"`{json.dumps(value['const'])}`"
        if "enum" in value:
            return "one of " + ", ".join(f"`{choice}`" for choice in value["enum"])
        kind = value.get("type")
        if kind == "array":
            items = self._type(value["items"]) if value.get("items") else "values"
            return f"list of {items}{_bounds(value)}"
        if kind == "object":
            inner = value.get("additionalProperties")
            return f"mapping of names to {self._type(inner)}" if isinstance(inner, dict) else "mapping"
        return {"null": "`null`", None: "value"}.get(kind, str(kind)) + _bounds(value)


def _bounds(value: Schema) -> str:
    """Return the range of a number, or the number of a list's entries, after a comma."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[key]:g}" for key, sign in signs.items() if key in value]
    if value.get("type") == "array" and value.get("minItems"):
        bounds.append(f"at least {value['minItems']}")
    if value.get("type") == "array" and value.get("maxItems"):
        bounds.append(f"at most {value['maxItems']}")
    return "".join(f", {bound}" for bound in bounds)


def _values_at(values: Any, path: Sequence[str]) -> Iterator[Any]:
    """Yield the values at a path, in which NAME stands for any key."""
    if not path:
        yield values
        return
    if not isinstance(values, dict):
        return
    key, *rest = path
    for inner in values.values() if key == "NAME" else [values[key]] if key in values else []:
        yield from _values_at(inner, rest)


def _assignment(path: Sequence[str], value: Any) -> str:
    """Return an override in Hydra's grammar, or a line of YAML for a text that would need quotes there."""
    text = _value(value)
    return f"{path[-1]}: {value}" if isinstance(value, str) and " " in value else f"{'.'.join(path)}={text}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


# Examples of keys that no file of conf/ sets and that have neither choices nor a default.
EXAMPLES: dict[str, Any] = {}


# Choices of conf/.


@page("choices")
def choices() -> Iterator[str]:
    """Yield a table for each group of conf/, with the description that each file begins with."""
    from qatlab.plan.configuration_files import ConfigurationFiles
    from qatlab.plan.schemes import TORCHAO_DEPLOYMENTS

    for group, names in ConfigurationFiles(ROOT / "conf").groups.items():
        yield from ("", f"## {group}", "", f"{GROUPS[group]} Select one with `{SELECTED[group]}`.")
        rows = [(f"`{name}`", escaped(described(group, name))) for name in names if name not in TORCHAO_DEPLOYMENTS]
        if group == "deploy":
            rows.append(("`torchao:SCHEME`", "PyTorch with weights that torchao quantizes to a [scheme](schemes.md)."))
        if group == "method":
            rows.append(("`METHOD:SCHEME`", "A method with its weights fake-quantized to a [scheme](schemes.md)."))
        yield from table((group, "description"), rows)


GROUPS = {
    "study": "A study: its question, its matrix of runs and its scales.",
    "model": "What training starts from: a hub id and revision, a folder with safetensors, or a decoder that is made on the spot.",
    "data": "Rows for training: installed packages, a local table, parallel texts, generated texts, or a hub data set.",
    "method": "Training recipe: loss, rotation, quantization of embeddings and of weights.",
    "trainer": "Settings of a training that several studies share; without one, the defaults apply.",
    "deploy": "Form in which a model is served. A study lists any number of them.",
    "task": "What models are evaluated on. A study lists any number of them.",
    "texts": "Further sets of texts on which drift is measured.",
}
SELECTED = {
    "study": "--config study=NAME",
    "deploy": "deploy=[NAME,NAME]",
    "task": "task=[NAME,NAME]",
    "texts": "texts=[NAME,NAME]",
} | {group: f"{group}=NAME" for group in ("model", "data", "method", "trainer")}


def described(group: str, name: str) -> str:
    """Return the comment at the beginning of a choice's file, or the values of a choice that the code registers."""
    file = ROOT / "conf" / group / f"{name}.yaml"
    if not file.is_file():
        from hydra.core.config_store import ConfigStore

        return f"`{_value(ConfigStore.instance().load(f'{group}/{name}.yaml').node)}`"
    lines = [line for line in file.read_text(encoding="utf-8").split("\n") if not line.startswith("# @package")]
    comment: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    if group == "study":
        title = yaml.safe_load("\n".join(lines))["study"]["title"]
        return f"{title}. {' '.join(comment)}"
    return " ".join(comment)


@page("schemes")
def schemes() -> Iterator[str]:
    """Yield the table of the schemes of weights."""
    from qatlab.config.weights import SCHEMES, WeightsConfig
    from qatlab.plan.schemes import TORCHAO_DEPLOYMENTS

    rows = []
    for name, scheme in SCHEMES.items():
        weights = WeightsConfig(name=name)
        deployment = f"`torchao:{name}`" if f"torchao:{name}" in TORCHAO_DEPLOYMENTS else "`onnx_int8`"
        device = "GPU" if weights.on_gpu else "any"
        rows.append((f"`{name}`", f"{weights.bits}", device, deployment, escaped(scheme.description)))
    yield from table(("scheme", "bits", "device", "deployment", "description"), rows)


@page("precisions")
def precisions() -> Iterator[str]:
    """Yield the table of the precisions of embeddings."""
    from qatlab.quantization.precisions import BITS, CELLS, QUANTILE, UNIFORM, bytes_per_embedding

    rows = []
    for name, bits in BITS.items():
        cells = "of equal width" if name in UNIFORM else "between quantiles" if name in QUANTILE else "–"
        count = str(CELLS.get(name, "–"))
        rows.append((f"`{name}`", f"{bits:g}", f"{bytes_per_embedding(name, 384):,}", count, cells))
    yield from table(("precision", "bits per dimension", "bytes of 384 dimensions", "cells", "kind of cells"), rows)


# Commands.


@page("commands")
def commands() -> Iterator[str]:
    """Yield the help of every command and stage, and of the targets of the Makefile."""
    from qatlab.__main__ import COMMANDS, STAGES

    yield from ("", "## Commands", "", "These are for people.")
    for name in COMMANDS:
        yield from ("", f"### `qatlab {name}`", "", "```text", help_of(name), "```")
    yield from (
        "",
        "## Stages",
        "",
        "Snakemake starts these, and so can you: `qatlab plan --write FOLDER` writes their configurations.",
    )
    yield from table(("stage", "purpose"), [(f"`qatlab {name}`", purpose) for name, purpose in STAGES.items()])
    yield from ("All stages have these options:", "", "```text", help_of("train"), "```")
    yield from (
        "",
        "## Targets of the Makefile",
        "",
        "In a checkout, `make TARGET` runs these in an environment that it installs.",
    )
    targets = re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    yield from table(("target", "purpose"), [(f"`make {name}`", escaped(purpose)) for name, purpose in targets])


def help_of(command: str) -> str:
    """Return what `qatlab COMMAND --help` prints."""
    from qatlab.__main__ import main

    before = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR")}
    os.environ.update(COLUMNS=str(WIDTH), NO_COLOR="1")
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
            main([command, "--help"])
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return printed.getvalue().strip()


# Tables and plots.


@page("tables")
def tables() -> Iterator[str]:
    """Yield each wide table: when a study has it, and its caption."""
    from qatlab.tables.table import TABLES

    yield from placed(TABLES.built_in)


@page("plots")
def plots() -> Iterator[str]:
    """Yield each plot: when a study has it, and its caption."""
    from qatlab.plots.plot import PLOTS

    yield from placed(PLOTS.built_in)


def placed(classes: Mapping[str, Any]) -> Iterator[str]:
    """Yield the condition and the caption of tables or plots, in the order in which a study shows them."""
    for name, cls in sorted(classes.items(), key=lambda item: item[1].place):
        title = f": {cls.title}" if isinstance(getattr(cls, "title", None), str) else ""
        yield from ("", f"### `{name}`{title}", "", f"*Exists* {condition(cls)}", "", cls.caption.strip(), "")


def condition(cls: Any) -> str:
    """Return the condition on which a study has a table or plot, from the docstring of its method `wanted`.

    Raises:
        ValueError: if the docstring states no condition.
    """
    text = " ".join((inspect.getdoc(cls.wanted) or "").split())
    for start, words in (("Return whether ", "if "), ("Return True: ", "always: ")):
        if text.startswith(start):
            return words + text.removeprefix(start)
    raise ValueError(f"{cls.__name__}.wanted: begin the docstring with 'Return whether' or 'Return True:'")


# Python API.

API = ("qatlab.quantization", "qatlab.losses", "qatlab.evaluation", "qatlab.statistics")


@page("python_api")
def python_api() -> Iterator[str]:
    """Yield a directive of autodoc for each public name of the library's modules."""
    for name in API:
        module = importlib.import_module(name)
        yield from ("", f"## {name}", "", (inspect.getdoc(module) or "").partition("\n\n")[0], "")
        for public in public_names(module):
            value = getattr(module, public)
            directive = "autoclass" if isinstance(value, type) else "autofunction" if callable(value) else "autodata"
            members = ["   :members:"] if directive == "autoclass" else []
            yield from ("```{eval-rst}", f".. {directive}:: {name}.{public}", *members, "```", "")


def public_names(module: Any) -> list[str]:
    """Return the names in `__all__`, or the classes and functions that a module without it defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    own = [(name, value) for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return [name for name, value in own if not name.startswith("_") and callable(value)]
