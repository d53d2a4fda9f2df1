"""Identity of a stage's code: the meaning of its module and of all modules of qatlab that it imports, directly or indirectly.

It is a parameter of the stage's rule: a change of what a module computes reruns exactly the stages that use it, and rewording reruns
nothing.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from qatlab.artifact import HASH_DIGITS
from qatlab.meaning import meaning
from qatlab.remembered import remembered

PACKAGE = Path(__file__).resolve().parent
# Modules that every stage imports and that do not influence its results.
LEFT_OUT = {
    "qatlab.progress",
    "qatlab.errors",
    "qatlab.machine.disk",
    "qatlab.stage_code",
    "qatlab.meaning",
    "qatlab.remembered",
    "qatlab",
}
# The wording of a card must not rerun the training; the stage `models` writes every card again.
LEFT_OUT_OF = {"train": {"qatlab.cards.training_card"}}


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
    """Return a digest of the meaning of a stage's modules, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for module in stage_modules(stage, registered):
        digest.update(f"{module}\0{_module(module)['meaning']}\0".encode())
    return digest.hexdigest()


def stage_code(stage: str, lock: Path, registered: Sequence[str] = ()) -> str:
    """Return a digest that changes with the meaning of a stage's modules or the lock file of its packages.

    Args:
        stage: name of the stage.
        lock: the lock file.
        registered: modules of registered classes that a job uses, which no stage imports by name.
    """
    return hashlib.sha256(lock.read_bytes() + stage_meaning(stage, registered).encode()).hexdigest()[:HASH_DIGITS]


def _module(name: str) -> dict[str, Any]:
    """Return the meaning and the imports of a module of qatlab or a plugin; imports of a plugin's package are not followed."""
    if name in _modules():
        return _modules()[name]
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None, name
    text = Path(spec.origin).read_text(encoding="utf-8")
    return {"meaning": hashlib.sha256(meaning(text).encode()).hexdigest(), "imports": _imports(text)}


@cache
def _modules() -> dict[str, dict[str, Any]]:
    """Return the meaning and the imports of each module of qatlab by its name.

    The result is cached per folder. Its key contains the content of the folder's files, so that an edit parses only the modules of
    one folder again, and the names of all modules, which determine what counts as an import.
    """
    texts = {file: file.read_text(encoding="utf-8") for file in sorted(PACKAGE.rglob("*.py"))}
    names = [_name(file) for file in texts]
    folders: dict[Path, dict[str, str]] = {}
    for file, name in zip(texts, names, strict=True):
        folders.setdefault(file.parent, {})[name] = texts[file]
    modules: dict[str, dict[str, Any]] = {}
    for folder_texts in folders.values():
        digest = hashlib.sha256(repr([names, folder_texts]).encode()).hexdigest()
        modules |= remembered(f"meaning of modules {digest} {sys.version_info[:2]}", [], partial(_parse, folder_texts))
    return modules


def _parse(texts: dict[str, str]) -> dict[str, dict[str, Any]]:
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
