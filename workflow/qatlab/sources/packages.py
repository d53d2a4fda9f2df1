"""Sources of training data in installed Python packages: docstring → code pairs, and whole source files."""

import ast
import gc
import importlib.metadata
import importlib.util
import platform
import sysconfig
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qatlab.errors import UserError
from qatlab.registry import TEXT, Name, Packages
from qatlab.sources.source import SOURCES, DataManifest, Source

if TYPE_CHECKING:
    import pandas as pd

# Docstring → code pairs from installed Python packages, after the CodeSearchNet protocol.
#
# A function's docstring summary is the query, its source without the docstring is the document
# (Husain et al. 2019, "CodeSearchNet Challenge", https://arxiv.org/abs/1909.09436). The filters are those
# of the paper: a summary has at least three words, a function at least three lines, and functions whose
# name contains "test" and dunder methods are left out. Of duplicates, the first occurrence is kept.

STDLIB = "stdlib"
SKIPPED_FOLDERS = {"test", "tests", "testing", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
MIN_SUMMARY_WORDS = 3
MIN_CODE_LINES = 3
BLOCKS = (ast.stmt, ast.excepthandler, ast.match_case)  # nodes that contain statements

# Maps an import name to the name of its distribution where they differ.
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


@dataclass(frozen=True)
class Pair:
    """One function: its id (package, file, line and name), its summary (the query) and its code (the document)."""

    id: str
    summary: str
    code: str


def package_version(package: str) -> str:
    """Return the version of an installed package, or of Python for 'stdlib'; raise a UserError if it is not installed."""
    if package == STDLIB:
        return platform.python_version()
    try:
        return importlib.metadata.version(DISTRIBUTIONS.get(package, package))
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"package '{package}' is not installed, so its sources cannot be read; install it or name another"
        ) from None


def package_root(package: str) -> Path:
    """Return the folder of an importable package, located without importing the package.

    Raises:
        UserError: if it is not installed, or is not a package with a folder.
    """
    if package == STDLIB:
        return Path(sysconfig.get_paths()["stdlib"])
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"'{package}' is not an installed package with a folder of Python files")
    return Path(spec.submodule_search_locations[0])


def module_paths(package: str) -> list[Path]:
    """Return the sorted source files of a package, without its tests and packages that are installed below its folder."""
    root = package_root(package)
    return [
        path
        for path in sorted(root.rglob("*.py"))
        if not SKIPPED_FOLDERS.intersection(path.relative_to(root).parts[:-1])
    ]


def extract(package: str) -> list[Pair]:
    """Return all pairs of a package, in the order of file path and line, without duplicate summaries or codes."""
    root = package_root(package)
    seen_summaries: set[str] = set()
    seen_codes: set[str] = set()
    pairs = []
    for path in module_paths(package):
        relative = path.relative_to(root)
        with _without_garbage_collection():
            functions = list(_functions(path))
        for qualified_name, summary, code in functions:
            if summary in seen_summaries or code in seen_codes:
                continue
            seen_summaries.add(summary)
            seen_codes.add(code)
            pairs.append(Pair(f"{package}/{relative.as_posix()}:{qualified_name}", summary, code))
    return pairs


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Disable cyclic garbage collection: a syntax tree has no cycles, and searching it for cycles takes as long as parsing it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _functions(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name (line:name), the summary and the code of each function of a file that passes the filters."""
    try:
        source = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Invalid escapes in the sources of other packages need no warning.
            tree = ast.parse(source)
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return  # Some packages ship templates and files in other encodings as .py.
    lines = source.split("\n")
    for node in _statements(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_left_out(node.name):
            continue
        docstring = ast.get_docstring(node)
        if not docstring or len(node.body) < 2:
            continue
        summary = " ".join(docstring.split("\n\n")[0].split())
        code = _code_without_docstring(node, lines)
        if len(summary.split()) >= MIN_SUMMARY_WORDS and code.count("\n") + 1 >= MIN_CODE_LINES:
            yield f"{node.lineno}:{node.name}", summary, code


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all statements, outer ones first: ast.walk without the expressions, which are most of a tree and hold no function."""
    waiting: deque[ast.AST] = deque([tree])
    while waiting:
        node = waiting.popleft()
        waiting.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, BLOCKS))
        yield node


def _is_left_out(name: str) -> bool:
    return "test" in name.lower() or (name.startswith("__") and name.endswith("__"))


def _code_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    docstring = node.body[0]
    kept = lines[node.lineno - 1 : docstring.lineno - 1] + lines[docstring.end_lineno : node.end_lineno]
    indent = len(kept[0]) - len(kept[0].lstrip())
    return "\n".join(line[indent:] if not line[:indent].strip() else line for line in kept if line.strip())


def source_files(package: str) -> list[str]:
    """Return the distinct, non-empty source files of a package, in the order of their paths."""
    texts = []
    for path in module_paths(package):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue  # Some packages ship test files in other encodings.
    return list(dict.fromkeys(text for text in texts if text.strip()))


def source_files_of_all(packages: Sequence[str], held_out: Sequence[str] = ()) -> list[str]:
    """Return the distinct source files of several packages, without those that also occur in a held-out package."""
    held_out_texts = {text for package in held_out for text in source_files(package)}
    texts = dict.fromkeys(text for package in packages for text in source_files(package))
    return [text for text in texts if text not in held_out_texts]


@SOURCES.register("docstrings")
class Docstrings(Source):
    """Docstring → code pairs of installed packages, read without network access."""

    source: Literal["docstrings"]
    packages: Packages
    held_out: Annotated[
        list[Name],
        Field(
            description="Held-out packages. Their functions are removed from the training rows wherever they reappear."
        ),
    ] = []

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns that `load` returns."""
        return ["anchor", "positive"]

    def origin(self) -> dict[str, str]:
        """Return the version of every package that is read, by package name."""
        return {package: package_version(package) for package in sorted({*self.packages, *self.held_out})}

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return the pairs of the training packages, except those whose summary or code also occurs in a held-out package.

        Returns:
            A table with the text columns anchor (docstring summary) and positive (code), without duplicate texts in either, and
            None, since there is no hub commit.

        Raises:
            UserError: if a package is not installed.
        """
        import pandas as pd

        held_out = [pair for package in self.held_out for pair in extract(package)]
        seen_summaries, seen_codes = {pair.summary for pair in held_out}, {pair.code for pair in held_out}
        rows = []
        for package in self.packages:
            for pair in extract(package):
                if pair.summary not in seen_summaries and pair.code not in seen_codes:
                    seen_summaries.add(pair.summary)
                    seen_codes.add(pair.code)
                    rows.append((pair.summary, pair.code))
        return pd.DataFrame(rows, columns=self.columns), None

    def describe(self, manifest: DataManifest) -> str:
        """Return the names and versions of the training packages as the end of a sentence."""
        packages = ", ".join(f"{name} {manifest.origin[name]}" for name in self.packages)
        return f", docstrings and code of Python packages: {packages}"


@SOURCES.register("package_texts")
class PackageTexts(Source):
    """Whole source files of installed packages, read without network access."""

    source: Literal["package_texts"]
    packages: Packages
    held_out: Annotated[
        list[Name],
        Field(description="Held-out packages. Their files are removed from the training rows wherever they reappear."),
    ] = []

    @property
    def columns(self) -> list[str]:
        """Return the name of the only column that `load` returns."""
        return [TEXT]

    def origin(self) -> dict[str, str]:
        """Return the version of every package that is read, by package name."""
        return {package: package_version(package) for package in sorted({*self.packages, *self.held_out})}

    def load(self) -> "tuple[pd.DataFrame, None]":
        """Return a table with one source file per row, and None, since there is no hub commit.

        Raises:
            UserError: if a package is not installed.
        """
        import pandas as pd

        return pd.DataFrame({TEXT: source_files_of_all(self.packages, self.held_out)}), None

    def describe(self, manifest: DataManifest) -> str:
        """Return the names and versions of the training packages as the end of a sentence."""
        packages = ", ".join(f"{name} {manifest.origin[name]}" for name in self.packages)
        return f", the source files of Python packages: {packages}"
