"""Which Python files a stage runs: its module and all of qatlab that it imports, directly or through others.

Their content is a parameter of the stage's rule, so that editing one reruns the stages that use it and nothing else.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from qatlab.artifact import HASH_DIGITS

PACKAGE = Path(__file__).resolve().parent.parent
# Starts every stage without shaping what it computes.
LEFT_OUT = {"qatlab.progress", "qatlab.errors", "qatlab.disk", "qatlab.plan.sources", "qatlab"}
# Another wording of a card is no other training; the stage `models` writes each card anew.
CARDS = {"qatlab.cards.training_card", "qatlab.cards.causal_card"}
LEFT_OUT_OF = {"train": CARDS, "train_causal_lm": CARDS}


def stage_sources(stage: str) -> list[Path]:
    """The files of a stage, sorted."""
    found: set[str] = set()
    waiting, left_out = [f"qatlab.stages.{stage}"], LEFT_OUT | LEFT_OUT_OF.get(stage, set())
    while waiting:
        module = waiting.pop()
        if module not in found | left_out:
            found.add(module)
            waiting.extend(_imports(module))
    return sorted(_file(module) for module in found)


def stage_code(stage: str, lock: Path) -> str:
    """Changes with the content of a stage's files, and of the file that locks the packages it runs with."""
    digest = hashlib.sha256(lock.read_bytes())
    for file in stage_sources(stage):
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:HASH_DIGITS]


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of qatlab that a module names in import statements anywhere, or in strings (for imports by name)."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(_file(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            names.update(modules)
            if not all(name.startswith("qatlab.") and _exists(name) for name in modules):
                names.add(node.module)  # something defined in it, not only modules that it contains
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return tuple(sorted(name for name in names if name.startswith("qatlab.") and _exists(name)))


def _exists(module: str) -> bool:
    if not all(part.isidentifier() for part in module.split(".")):
        return False
    return _path(module).with_suffix(".py").is_file() or (_path(module) / "__init__.py").is_file()


def _file(module: str) -> Path:
    path = _path(module)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _path(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")[1:])
