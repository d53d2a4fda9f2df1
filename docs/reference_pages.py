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
INCLUDED = re.compile(r"^<!-- included: (\S+) -->$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)#]+)[^)]*\)")
INCLUDING = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}  # pages, by the document that they show
WIDTH = 84  # columns of the help of a command
LONGEST = 60  # characters of an example that is taken from a file
PAGES: dict[str, Callable[[], Iterator[str]]] = {}
KINDS = ("source", "backend", "engine", "name", "mode")  # keys by which a section selects one of several classes
Schema = Mapping[str, Any]


def setup(app: Any) -> dict[str, bool]:
    """Connect the extension to Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def fill(app: Any, name: str, source: list[str]) -> None:
    """Replace each marker of a page by the generated Markdown, or by a document of the project's root."""
    source[0] = INCLUDED.sub(lambda match: included(match.group(1)), source[0])
    source[0] = MARKER.sub(lambda match: "\n".join(PAGES[match.group(1)]()), source[0])


def included(document: str) -> str:
    """Return a document of the project's root, in which links to documents that are not part of the site are their text alone."""

    def linked(match: re.Match[str]) -> str:
        text, target = match.groups()
        return f"[{text}]({INCLUDING[target]})" if target in INCLUDING else text

    return LINK.sub(linked, (ROOT / document).read_text(encoding="utf-8"))


def page(name: str) -> Callable[[Callable[[], Iterator[str]]], Callable[[], Iterator[str]]]:
    """Return a decorator that registers a function, which yields lines of Markdown, by the name in markers."""

    def decorate(function: Callable[[], Iterator[str]]) -> Callable[[], Iterator[str]]:
        PAGES[name] = function
        return function

    return decorate


def escaped(text: str) -> str:
    """Return text on one line, in which Markdown's characters have no effect outside backticks."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    plain = (part if part.startswith("`") else re.sub(r"([\\*\[\]<>|])", r"\\\1", part) for part in parts)
    return "".join(part if part.startswith("`") else re.sub(r"(https://[^\s)]+)", r"<\1>", part) for part in plain)


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
        from qatlab.registry import Strict

        self.classes = {cls.__name__: cls for cls in _subclasses(Strict)}

    def sections(self) -> Iterator[str]:
        """Yield the lines of all sections; a class that several keys share is described once."""
        properties = self.root["properties"]
        for key, value in properties.items():
            references = list(self._references(value))
            yield from ("", f"## {key}", "")
            if value.get("description"):
                yield from (escaped(value["description"]), "")
            elif key in INTRODUCTIONS:
                yield from (INTRODUCTIONS[key], "")
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
            required = key in schema.get("required", [])
            described = {"description": self._inherited(name, key), **value}
            yield from self._key((*path, key), described, required, kind.rpartition(": ")[2])
            references = list(self._references(value))
            inner = (*path, key, "NAME") if self._is_mapping(value) else (*path, key + "[]" * self._is_list(value))
            below += [(inner, reference, len(references) > 1) for reference in references]
        for inner, reference, has_kinds in below:
            yield from self._section(inner, reference, has_kinds)

    def _key(self, path: tuple[str, ...], value: Schema, required: bool, kind: str = "") -> Iterator[str]:
        """Yield the definition of a key: its description, type, default and an example."""
        shown = ".".join(path)
        facts = [f"*Type:* {self._type(value)}"]
        facts.append("*required*" if required else f"*Default:* {self._default(value)}")
        example = self._example(path, value, kind)
        facts += [f"*Example:* `{example}`"] if example else []
        classes = (self.definitions[name].get("description", "") for name in self._references(value))
        description = value.get("description") or next(classes, "").partition("\n\n")[0]
        anchor = re.sub(r"[^A-Za-z0-9]+", "-", f"{shown} {kind}").strip("-")
        yield from (f"`{shown}`{{#{anchor}}}", f": {escaped(description)}", "", f"  {' · '.join(facts)}", "")

    def _inherited(self, name: str, key: str) -> str:
        """Return the description that a base class gives a key; a subclass may change only the default."""
        fields = (getattr(cls, "model_fields", {}).get(key) for cls in self.classes[name].__mro__)
        return next((field.description for field in fields if field is not None and field.description), "")

    def _default(self, value: Schema) -> str:
        if "default" not in value:
            return "–"
        text = json.dumps(value["default"], ensure_ascii=False)
        if "{" not in text or ":" not in text:
            return f"`{text}`"
        described = [self.places[name] for name in self._references(value) if name in self.places]
        if not described:
            return "as in the section below"
        # The class is described where it appeared first, and what this key sets may differ from the defaults there.
        keys = self.definitions[next(self._references(value))]["properties"]
        given = value["default"] if isinstance(value["default"], dict) else {}
        own = {key: inner for key, inner in given.items() if inner != keys[key].get("default")}
        return f"as in the section `{described[0]}`" + (f", with `{_value(own)}`" if own else "")

    def _example(self, path: tuple[str, ...], value: Schema, kind: str) -> str | None:
        """Return an assignment: a value that a file of conf/ gives, another choice, or a value within the bounds."""
        key = ".".join(path)
        if key in OVERRIDES:
            return OVERRIDES[key]
        for name in (f"{key} {kind}", key):
            if name in EXAMPLES:
                return _assignment(path, EXAMPLES[name])
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
        if default not in (None, "", [], {}) and not isinstance(default, dict):
            return _assignment(path, default)
        alike = (example for name, example in EXAMPLES.items() if name.rpartition(".")[2] == path[-1])
        return next((_assignment(path, example) for example in alike), None)

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

    def _is_list(self, value: Schema) -> bool:
        return any(part.get("type") == "array" and {*self._references(part)} for part in self._parts(value))

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


def _subclasses(cls: type) -> Iterator[type]:
    """Yield the subclasses of a class, directly and indirectly."""
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _bounds(value: Schema) -> str:
    """Return the range of a number, or the number of a list's entries, after a comma."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[key]}" for key, sign in signs.items() if key in value]
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
    if key.endswith("[]"):
        listed = values.get(key.removesuffix("[]"), [])
        for inner in listed if isinstance(listed, list) else [listed]:
            yield from _values_at(inner, rest)


def _assignment(path: Sequence[str], value: Any) -> str:
    """Return an override in Hydra's grammar; for an entry of a list, or a text that would need quotes there, a line of YAML."""
    needs_quotes = isinstance(value, str) and re.search(r"[\s\[\]{}]", value)
    if any(key.endswith("[]") for key in path) or "=" in _value(value) or needs_quotes:
        written = yaml.safe_dump([value], default_flow_style=True, width=200, allow_unicode=True)
        return f"{path[-1]}: {written.strip()[1:-1]}"
    return f"{'.'.join(path)}={_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


# First sentences of the sections whose keys depend on a class that one of their keys selects.
INTRODUCTIONS = {
    "data": "Rows for training. `data.source` selects one of the following classes, each with keys of its own.",
    "deploy": "Forms in which a model is served, by name. `deploy.NAME.backend` selects one of the following classes.",
    "task": "Evaluation tasks, by name. `task.NAME.source` selects one of the following classes. In retrieval, `task.NAME.queries` limits "
    "the queries alone: all documents are searched, unless the class has a key `documents`.",
}

# Overrides that are the example of a key, because they set another key in its place.
OVERRIDES = {"seed": "study.matrix.seed=[0,1,2]"}

# Examples of keys for which no file of conf/, choice or default is a good one. A key may be followed by the kind of its section.
# A key of the same name in another section, without an example of its own, has the same example.
EXAMPLES: dict[str, Any] = {
    "study.name": "mine",
    "study.title": "My pairs",
    "study.question": "Does training for int8 pay?",
    "study.matrix": {"method": ["baseline", "ste"], "seed": [0, 1, 2]},
    "study.exclude": [{"method": "ste", "seed": 1}],
    "study.scales": {"small": ["data.rows=384"]},
    "study.budget": 0.02,
    "study.answers": [{"method": "ste", "deploy": "torch_fp32", "precision": "binary"}],
    "study.tables": ["best_seeds"],
    "study.plots": ["my_plot"],
    "study.decomposition": ["baseline/onnx_int8"],
    "study.answers[].against_deploy": "torch_fp32",
    "study.answers[].where": {"data.rows": 384},
    "model.name": "intfloat/e5-small-v2",
    "model.prompt": "Translate: {source}",
    "data.packages": ["sympy", "networkx"],
    "data.path": "pairs.csv",
    "data.columns": ["question", "answer"],
    "data.columns parallel": ["en", "fr"],
    "data.name hub": "sentence-transformers/gooaq",
    "data.paths": ["train.en", "train.fr"],
    "data.skip": 1024,
    "data.language": "fr",
    "method.rotation.bits": 1024,
    "method.rotation.factor": 2,
    "method.head.start.bits": 1024,
    "method.head.start.factor": 2,
    "method.embedding_quantization.estimator.scale": 4.0,
    "method.embedding_quantization.scales": {"binary": 30.0},
    "method.embedding_quantization.learned_scales": ["binary"],
    "method.embedding_quantization.precisions.NAME.start_steps": 100,
    "method.embedding_quantization.precisions.NAME.start_fraction": 0.1,
    "method.weights": "int4",
    "method.float_teacher": 1.0,
    "method.weights.name": "int4",
    "method.weights.group_size": 64,
    "method.weights_start.weights.steps": 100,
    "trainer.distributed": {"processes": 2},
    "trainer.max_examples": 10000,
    "trainer.prompts": {"question": "query:"},
    "trainer.report_to": ["wandb"],
    "deploy.NAME.quantization openvino": {"preset": "performance"},
    "deploy.NAME.quantization.nodes_to_exclude": ["/layer.0/MatMul"],
    "task.NAME.name hub": "zeta-alpha-ai/NanoSciFact",
    "task.NAME.name mteb": "SciFact",
    "task.NAME.split": "test",
    "task.NAME.mteb_name": "NanoArguAnaRetrieval",
    "task.NAME.path local": "corpus",
    "task.NAME.path pairs": "pairs.csv",
    "task.NAME.path local_texts": "texts.csv",
    "task.NAME.path withheld": "records.jsonl",
    "task.NAME.paths documents": {"corpus": "documents.jsonl", "queries": "queries.jsonl"},
    "task.NAME.paths vectors": {"corpus": "documents.jsonl"},
    "task.NAME.paths parallel": ["test.en", "test.fr"],
    "task.NAME.paths.corpus": "documents.jsonl",
    "task.NAME.paths.queries": "queries.jsonl",
    "task.NAME.paths.qrels": "qrels.tsv",
    "task.NAME.packages": ["django"],
    "task.NAME.language": "fr",
    "texts.NAME.path": "texts.csv",
    "texts.NAME.subset": "en",
    "evaluate.index[].lists": 1024,
    "evaluate.index[].code_bytes": 96,
    "evaluate.ranges": ["corpus", "training"],
    "evaluate.rescoring": ["none", "float32"],
    "evaluate.index": ["flat", "hnsw"],
    "evaluate.dimensions": [None, 128],
    "evaluate.rotations": ["none", "itq"],
    "evaluate.bit_axes": ["itq"],
    "evaluate.engines": ["usearch", "sqlite_vec"],
    "evaluate.engines[].modes": ["float32_exact"],
    "evaluate.engines[].probes": 16,
    "evaluate.engines[].maintenance_work_mem": 256,
    "evaluate.engines[].quantile": 0.99,
    "evaluate.engines[].lists": 128,
    "drift.limit": 1000,
}


# Choices of conf/.


@page("choices")
def choices() -> Iterator[str]:
    """Yield a table for each group of conf/, with the description that each file begins with."""
    from qatlab.plan.configuration_files import ConfigurationFiles
    from qatlab.plan.schemes import TORCHAO_DEPLOYMENTS

    groups = ConfigurationFiles(ROOT / "conf").groups
    for group in sorted(groups, key=list(GROUPS).index):
        names = groups[group]
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
        from qatlab.plan.configuration_files import CHOICES

        fields = CHOICES[group][name]
        return ", ".join(f"{key} `{_value(value)}`" for key, value in fields.items() if key != "revision")
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
            if isinstance(value, type):
                lines = [f".. autoclass:: {name}.{public}", "   :members:"]
            elif callable(value):
                lines = [f".. autofunction:: {name}.{public}"]
            else:  # Python's own docstring of a tuple would stand for that of the name.
                lines = [f".. py:data:: {name}.{public}", f"   :value: {value!r}"]
            yield from ("```{eval-rst}", *lines, "```", "")


def public_names(module: Any) -> list[str]:
    """Return the names in `__all__`, or the classes and functions that a module without it defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    own = [(name, value) for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return [name for name, value in own if not name.startswith("_") and callable(value)]
