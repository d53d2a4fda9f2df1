"""Which Python files a stage runs, and what they compute.

A stage runs its module and all of qatlab that it imports, directly or through others. What they compute is a parameter of
the stage's rule: changing that reruns the stages that use it and nothing else. Two files of the same meaning make the same
artifacts: comments, docstrings, annotations, messages and descriptions of keys are left out, so that rewording one reruns
nothing.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TypedDict, TypeVar

from qatlab.artifact import HASH_DIGITS
from qatlab.remembered import remembered

Node = TypeVar("Node", ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

# Functions whose arguments are messages, which do not influence results, even if expressions are interpolated.
SAYING = ("say", "print", "unknown", "show_warnings")
LOGGING = ("logger", "logging", "warnings")  # objects whose methods take messages
DESCRIPTIONS = ("description", "title", "help")  # keyword arguments of Field and add_argument


def meaning(source: str) -> str:
    """Return Python source that computes the same, in a uniform layout and without text for readers.

    Comments, docstrings, annotations (not default values), `if TYPE_CHECKING:`, the arguments of exceptions and of messages, and
    descriptions of configuration keys are removed.

    Raises:
        SyntaxError: if the source is not valid Python.
    """
    return ast.unparse(ast.fix_missing_locations(_Meaning().visit(ast.parse(source))))


class _Meaning(ast.NodeTransformer):
    """Transformer that removes text for readers from a syntax tree."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._without_docstring(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self._without_docstring(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """Remove the annotation; a field without a default keeps its name, because its position matters in a dataclass."""
        target = self.visit(node.target)
        if node.value is None:
            return ast.Expr(target)
        return ast.Assign([target], self.visit(node.value))

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        """Replace `if TYPE_CHECKING` by its `else` branch."""
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(other) for other in node.orelse]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name, owner = _names(node.func)
        if name in ("Field", "add_argument"):
            node.keywords = [word for word in node.keywords if word.arg not in DESCRIPTIONS]
        if name in SAYING or owner in LOGGING or name.endswith("Error"):
            node.args, node.keywords = [], []
        return self.generic_visit(node)

    def _without_docstring(self, node: Node) -> ast.AST:
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)


def _names(function: ast.expr) -> tuple[str, str]:
    """Return the name of a called function, and the name before the dot: `warn` and `warnings` in `warnings.warn(…)`."""
    if isinstance(function, ast.Attribute):
        return function.attr, function.value.id if isinstance(function.value, ast.Name) else ""
    return (function.id if isinstance(function, ast.Name) else ""), ""


PACKAGE = Path(__file__).resolve().parent
TEMPLATES = "templates"  # folder of the files that the modules beside it fill in
# Modules that every stage imports and that do not influence its results.
LEFT_OUT = {"qatlab.errors", "qatlab.progress", "qatlab.remembered", "qatlab.stage_code", "qatlab"}
# The wording of a card must not rerun the training; the stage `models` writes every card again.
LEFT_OUT_OF = {"train": {"qatlab.cards.training_card"}}


class ParsedModule(TypedDict):
    """Meaning and imports of a module, from which the fingerprint of a stage is computed.

    Args:
        meaning: a digest of its code without wording, 64 hexadecimal digits.
        imports: names of the modules of qatlab that it may import.
    """

    meaning: str
    imports: list[str]


def stage_modules(stage: str, registered: Sequence[str] = ()) -> list[str]:
    """Return the names of the modules of a stage, sorted.

    Args:
        stage: name of the stage.
        registered: modules of registered classes that a job uses, which no stage imports by name.
    """
    names: set[str] = set()
    waiting = [f"qatlab.stages.{stage}", *registered]
    left_out = LEFT_OUT | LEFT_OUT_OF.get(stage, set())
    while waiting:
        module = waiting.pop()
        if module not in names | left_out:
            names.add(module)
            waiting.extend(_module(module)["imports"])
    return sorted(names)


def stage_meaning(stage: str, registered: Sequence[str] = ()) -> str:
    """Return a digest of the meaning of a stage's modules and of the templates beside them, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    modules = stage_modules(stage, registered)
    for module in modules:
        digest.update(f"{module}\0{_module(module)['meaning']}\0".encode())
    for folder in sorted({_path(module).parent / TEMPLATES for module in modules}):
        for file in sorted(folder.glob("*")):
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def stage_code(stage: str, lock: Path, registered: Sequence[str] = ()) -> str:
    """Return a digest that changes with the meaning of a stage's modules or the lock file of its packages.

    Args:
        stage: name of the stage.
        lock: the lock file.
        registered: modules of registered classes that a job uses, which no stage imports by name.
    """
    return hashlib.sha256(lock.read_bytes() + stage_meaning(stage, registered).encode()).hexdigest()[:HASH_DIGITS]


def _module(name: str) -> ParsedModule:
    """Return the meaning and the imports of a module of qatlab or a plugin; imports of a plugin's package are not followed."""
    if name in _modules():
        return _modules()[name]
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None, name
    text = Path(spec.origin).read_text(encoding="utf-8")
    return {"meaning": hashlib.sha256(meaning(text).encode()).hexdigest(), "imports": _imports(text)}


@cache
def _modules() -> dict[str, ParsedModule]:
    """Return the meaning and the imports of each module of qatlab by its name.

    The result is cached per folder. Its key contains the content of the folder's files, so that an edit parses only the modules of
    one folder again, and the names of all modules, which determine what counts as an import.
    """
    texts = {file: file.read_text(encoding="utf-8") for file in sorted(PACKAGE.rglob("*.py"))}
    names = [_name(file) for file in texts]
    folders: dict[Path, dict[str, str]] = {}
    for file, name in zip(texts, names, strict=True):
        folders.setdefault(file.parent, {})[name] = texts[file]
    modules: dict[str, ParsedModule] = {}
    for folder_texts in folders.values():
        digest = hashlib.sha256(repr([names, folder_texts]).encode()).hexdigest()
        modules |= remembered(f"meaning of modules {digest} {sys.version_info[:2]}", [], partial(_parse, folder_texts))
    return modules


def _parse(texts: dict[str, str]) -> dict[str, ParsedModule]:
    """Return the meaning and the imports of modules, given their texts by name."""
    return {
        module: {"meaning": hashlib.sha256(meaning(text).encode()).hexdigest(), "imports": _imports(text)}
        for module, text in texts.items()
    }


def _imports(text: str) -> list[str]:
    """Return the modules of qatlab that a module names in import statements anywhere, or in strings (for imports by name)."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            names.update(modules)
            if not all(name.startswith("qatlab.") and _exists(name) for name in modules):
                names.add(
                    node.module
                )  # At least one name is defined in the module itself, instead of being a submodule.
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return sorted(name for name in names if name.startswith("qatlab.") and _exists(name))


def _exists(module: str) -> bool:
    if not all(part.isidentifier() for part in module.split(".")):
        return False
    return _path(module).with_suffix(".py").is_file() or (_path(module) / "__init__.py").is_file()


def _name(file: Path) -> str:
    """Return the name of a file's module."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join([PACKAGE.name, *(parts[:-1] if parts[-1] == "__init__" else parts)])


def _path(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")[1:])
