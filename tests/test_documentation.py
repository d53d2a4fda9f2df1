"""Documents: their commands, paths, examples and messages are those of the code, and the site builds without a warning."""

import argparse
import csv
import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from conftest import PROJECT
from qatlab.__main__ import main
from qatlab.plan.compose import compose_runs
from qatlab.plan.plan import published_studies
from qatlab.plan.safe_files import split_overrides
from qatlab.sources.readers import read_columns
from qatlab.tables import long
from qatlab.tasks import beir

DOCS = PROJECT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
ROOTS = ("README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md", "config/README.md", "profiles/README.md")
DOCUMENTS = [*(PROJECT / name for name in ROOTS if (PROJECT / name).is_file()), *PAGES]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w{}-]*)[^\n]*\n(?P<content>.*?)^(?P=indent)```", re.DOTALL | re.MULTILINE
)
OWN_FILE = re.compile(
    r"# (conf/\w+/\w+\.yaml)$", re.MULTILINE
)  # in a comment of a block, or else in the paragraph above it
ABOVE = re.compile(r"`(conf/\w+/\w+\.yaml)`(?:[^\n]|\n(?!\n))*\n\n *```yaml\n")
FOLDERS = "conf|config|docs|envs|profiles|results/published|tests|workflow|.ci"


class Block(NamedTuple):
    """A fenced block of a document."""

    document: Path
    language: str
    content: str

    def __str__(self) -> str:
        first = self.content.strip().partition("\n")[0]
        return f"{self.document.relative_to(PROJECT)}: {first}"


def blocks(*languages: str) -> list[Block]:
    """Return the fenced blocks of all documents in some languages, without the indentation that lists give them."""
    return [
        Block(document, match["language"], re.sub(f"^{match['indent']}", "", match["content"], flags=re.MULTILINE))
        for document in DOCUMENTS
        for match in FENCE.finditer(document.read_text(encoding="utf-8"))
        if match["language"] in languages
    ]


def commands() -> Iterator[tuple[Path, str, list[str]]]:
    """Yield each command of the shell blocks: its document, the program, and its arguments, without assignments before it."""
    for block in blocks("bash", "sh", "console"):
        if block.document.name == "exit_codes.md":
            continue  # its commands contain mistakes; another test runs them
        lines = block.content.replace("\\\n", " ").split("\n")
        if block.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in lines:
            words: list[str] = []
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
            lexer.whitespace_split = True
            for word in [*lexer, ";"]:
                if word not in ("&&", "||", "|", ";", ">", ">>"):
                    words.append(word)
                    continue
                while words and re.fullmatch(r"\w+=.*", words[0]):
                    words.pop(0)
                if words:
                    yield block.document, Path(words[0]).name, words[1:]
                words = []


def of(program: str) -> list[tuple[Path, list[str]]]:
    """Return the distinct arguments with which documents call a program, with the first document of each."""
    first = {tuple(arguments): document for document, name, arguments in reversed([*commands()]) if name == program}
    return [(document, list(arguments)) for arguments, document in sorted(first.items())]


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    """Return a copy of conf/ with the files that documents show."""
    folder = tmp_path_factory.mktemp("documents")
    shutil.copytree(PROJECT / "conf", folder / "conf")
    for block in blocks("yaml"):
        shown = OWN_FILE.search(block.content)
        if shown:
            (folder / shown.group(1)).write_text(block.content, encoding="utf-8")
    return folder / "conf"


@cache
def check_study(conf: Path, studies: str, scale: str | None, overrides: str) -> None:
    """Compose studies with their overrides. Only one method is composed where the overrides leave the matrix alone."""
    for study in published_studies(conf) if studies == "all" else studies.split(","):
        if study.isupper() or study.startswith("score_"):
            continue  # a name that stands for a reader's own study, or one that `qatlab score` composed
        parts = split_overrides(overrides)
        if "study.matrix" not in overrides:
            parts = [*parts, "study.matrix.method=[baseline]", "study.exclude=[]", "study.decomposition=[]"]
        assert compose_runs(conf, study, scale, parts)


def test_readme_is_short():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.slow(24)
def test_commands_of_snakemake_exist(conf):
    from snakemake.cli import get_argument_parser

    parser = get_argument_parser()
    keys = set(re.findall(r'"(\w+)"', re.search(r"set\(config\)\s+- (\{.*?\})", rules()).group(1)))
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)) == keys
    calls = of("snakemake")
    assert len(calls) > 10
    for document, arguments in calls:
        options = parser.parse_args(arguments)
        config = dict(part.split("=", 1) for part in options.config or [])
        assert set(config) <= keys, (document, arguments)
        for profile in options.profile or []:
            assert (PROJECT / profile / "config.yaml").is_file(), (document, arguments)
        names = {*re.findall(r"^rule (\w+):", rules(), re.MULTILINE)}
        assert {target for target in options.targets if "/" not in target} <= names, (document, arguments)
        check_study(conf, config.get("study", "quickstart"), config.get("scale"), config.get("overrides", ""))


def rules() -> str:
    """Return the text of all rules."""
    return "\n".join(file.read_text(encoding="utf-8") for file in (PROJECT / "workflow" / "rules").glob("*.smk"))


class ParsedError(Exception):
    """End of a command whose arguments have been parsed, in place of what it would do."""


def test_commands_of_qatlab_exist(conf, monkeypatch):
    def parse(parser, arguments=None, namespace=None):
        options, unknown = parser.parse_known_args(arguments, namespace)
        assert not unknown
        raise ParsedError(options)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    calls = of("qatlab")
    assert len(calls) > 5
    for document, arguments in calls:
        if arguments == ["--help"]:
            continue
        try:
            main(arguments)
        except ParsedError as parsed:
            options = vars(parsed.args[0])
        except SystemExit:
            pytest.fail(f"{document}: qatlab {shlex.join(arguments)} has options that do not exist")
        else:
            pytest.fail(f"{document}: qatlab {shlex.join(arguments)} does not exist")
        if options.get("study"):
            check_study(conf, options["study"], options.get("scale"), options.get("overrides") or "")


def test_commands_of_make_exist(conf):
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = {*re.findall(r"^([.\w/-]+):", makefile, re.MULTILINE)}
    calls = of("make")
    assert len(calls) > 3
    for document, arguments in calls:
        values = dict(word.split("=", 1) for word in arguments if "=" in word)
        assert {word for word in arguments if "=" not in word and not word.startswith("-")} <= targets, document
        assert all(re.search(rf"\b{name}\b", makefile) for name in values), (document, arguments)
        check_study(conf, values.get("STUDY", "quickstart"), values.get("SCALE"), values.get("OVERRIDES", ""))


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_is_a_configuration(block, conf):
    assert yaml.safe_load(block.content) is not None
    shown = OWN_FILE.search(block.content)
    if shown:
        group, name = Path(shown.group(1)).parts[1], Path(shown.group(1)).stem
        if group == "study":
            assert compose_runs(conf, name)
        elif group == "method":
            assert compose_runs(
                conf, "quickstart", None, [f"study.matrix={{method:[{name}]}}", "study.decomposition=[]"]
            )


PYTHON = [
    block for block in blocks("python") if block.document.parent.name != "config"
]  # which shows rules of Snakemake


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles_and_its_imports_exist(block):
    import ast

    for node in ast.walk(ast.parse(block.content, filename=str(block))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            for name in names:
                assert is_own(name) or importlib.util.find_spec(name), name
        elif isinstance(node, ast.ImportFrom) and not is_own(node.module):
            module = importlib.import_module(node.module)
            for name in names:
                assert hasattr(module, name) or importlib.util.find_spec(f"{node.module}.{name}"), (node.module, name)


def is_own(module: str) -> bool:
    """Return whether a module is one that a document shows: its block begins with a comment that names the file."""
    return any(block.content.startswith(f"# {module}.py\n") for block in blocks("python"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_paths_and_names_exist(document):
    whole = document.read_text(encoding="utf-8")
    text = FENCE.sub("", whole)
    shown = {path for block in blocks("yaml") for path in OWN_FILE.findall(block.content)} | {*ABOVE.findall(whole)}
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        assert link.startswith("http") or (document.parent / link).exists(), link
    for path in re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", text):
        is_written = path in shown or path.startswith("docs/_build/") or re.search("[A-Z]{4}", path)
        assert is_written or any((root / path).exists() for root in (PROJECT, PROJECT / "workflow" / "qatlab")), path
    for name in re.findall(r"`(qatlab(?:\.\w+)+)`", text):
        module, _, attribute = name.rpartition(".")
        assert importlib.util.find_spec(module), name
        assert importlib.util.find_spec(name) or hasattr(importlib.import_module(module), attribute), name


def test_columns_of_long_tables_are_described():
    page = (DOCS / "reference" / "tables_and_plots.md").read_text(encoding="utf-8")
    for table in ("SCORE", "DRIFT", "COST", "SEARCH"):
        name = "scores" if table == "SCORE" else table.lower()
        section = page.partition(f"### `{name}.csv`")[2].partition("\n#")[0]
        cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(getattr(long, f"{table}_COLUMNS")), name


def test_environment_variables_are_described():
    code = "\n".join(file.read_text(encoding="utf-8") for file in (PROJECT / "workflow" / "qatlab").rglob("*.py"))
    own = {"QATLAB_WORKER", "QATLAB_FORK_SERVER_OF_JOB"}  # set by qatlab for its own processes
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(QATLAB_\w+)`", page)) == set(re.findall(r"\bQATLAB_[A-Z_]+\b", code)) - own


def messages() -> list[tuple[str, str]]:
    """Return each command of the page of error messages, with the text that it prints."""
    text = (DOCS / "reference" / "exit_codes.md").read_text(encoding="utf-8")
    return re.findall(r"```console\n\$ qatlab (.*?)\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize(("command", "printed"), messages(), ids=lambda text: text[:40])
def test_messages_are_those_that_commands_print(command, printed, monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    assert main(shlex.split(command)) == 2
    assert capsys.readouterr().err.split() == printed.split()


def test_words_of_failures_are_those_of_the_code():
    text = (DOCS / "reference" / "exit_codes.md").read_text(encoding="utf-8").partition("### A job fails")[2]
    rows = re.findall(r"^\| .*? \| `(.*?)` \|", text, re.MULTILINE)
    assert len(rows) > 8
    code = "\n".join(file.read_text(encoding="utf-8") for file in (PROJECT / "workflow" / "qatlab").rglob("*.py"))
    for words in (part.strip() for row in rows for part in row.split("…")):
        assert words in code, words


def reference():
    """Return the extension that writes the reference."""
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module("reference_pages")
    finally:
        sys.path.remove(str(DOCS))


def test_every_key_is_described_and_has_an_example():
    entries = re.findall(
        r"^`(.+?)`\{#\S+\}\n: (.*)\n\n  (\*Type:\*.*)$",
        "\n".join(reference().PAGES["configuration"]()),
        re.MULTILINE,
    )
    assert len(entries) > 300
    for key, description, facts in entries:
        assert len(description.split()) > 2, f"{key} has no description"
        assert "*Example:*" in facts or "section" in facts, f"{key} has no example"
    stale = {key.partition(" ")[0] for key in reference().EXAMPLES} - {key for key, _, _ in entries}
    assert not stale, f"examples of keys that do not exist: {', '.join(stale)}"


# Keys with short forms, which the models expand before they validate.
SHORT_FORMS = ("centring", "rescoring", "index", "engines", "rotations", "bit_axes")


def test_examples_of_keys_are_valid():
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from jsonschema import Draft202012Validator

    from qatlab.commands.plan import schema

    pages, parser, checked = reference(), OverridesParser.create(), 0

    class Examples(pages.ConfigurationKeys):
        def _key(self, path, value, required, kind=""):
            nonlocal checked
            key, example = ".".join(path), self._example(path, value, kind)
            if example is None or key in pages.OVERRIDES:
                return
            is_override = example.startswith(f"{key}=")
            given = parser.parse_override(example).value() if is_override else yaml.safe_load(example)[path[-1]]
            if path[-1] not in SHORT_FORMS:
                definition = {**value, "$defs": self.definitions}
                assert not [*Draft202012Validator(definition).iter_errors(given)], f"{key} ({kind}): {example}"
            checked += 1
            yield from ()

    list(Examples(schema(), list(pages.configuration_files())).sections())
    assert checked > 300
    assert all(parser.parse_override(override).value() is not None for override in pages.OVERRIDES.values())


def test_held_out_pairs_are_a_corpus(tmp_path):
    (script,) = (block.content for block in blocks("python") if block.content.startswith("# hold_out.py\n"))
    pairs = [(f'What is "{n}", in short?', f"Number {n},\nand more.") for n in range(10)]
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question, in short", "answer"), *pairs, ("Again?", pairs[0][1])])
    subprocess.run([sys.executable, "-", "pairs.csv", "4"], input=script, cwd=tmp_path, text=True, check=True)
    training = read_columns(tmp_path / "train.csv", ["question, in short", "answer"])
    documents, queries, judgements = beir.load(tmp_path / "corpus", "test")
    assert (len(training), len(documents), len(queries), len(judgements)) == (6, 4, 4, 4)
    assert {*training["answer"], *documents["text"]} == {answer for _, answer in pairs}
    text = dict(zip(documents["id"], documents["text"], strict=True))
    answers = {**dict(pairs), "Again?": pairs[0][1]}
    for query, question in zip(queries["id"], queries["text"], strict=True):
        (document,) = judgements.loc[judgements["query_id"] == query, "doc_id"]
        assert text[document] == answers[question]


@pytest.mark.slow(20)
def test_the_site_builds_strictly_and_needs_no_network(tmp_path):
    binary = Path(sys.executable).parent
    command = ["make", "-o", ".venv/.dev", "docs", f"BIN={binary}", f"SITE={tmp_path}"]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    html = {page: page.read_text(encoding="utf-8") for page in (tmp_path / "html").rglob("*.html")}
    assert {page.stem for page in PAGES} - {page.stem for page in html} == set()
    loaded = r"<(?:script|img|iframe)[^>]+src=\"(https?:)?//|<link[^>]+rel=\"(?:stylesheet|preload)\"[^>]+href=\"(https?:)?//"
    for page, text in html.items():
        assert not re.search(loaded, text), page
    keys = next(text for page, text in html.items() if page.name == "configuration.html")
    assert "trainer.batch_size" in keys and "generated:" not in keys
    assert "quantize_embeddings" in (tmp_path / "html" / "searchindex.js").read_text(encoding="utf-8")
