"""Source that computes the same has the same meaning, and other source another."""

import subprocess
import sys

import pytest

from qatlab.stage_code import PACKAGE, meaning

SAME = {
    "a docstring": ('def f():\n    "One."\n    return 1', 'def f():\n    "Two."\n    return 1'),
    "none": ('def f():\n    "One."\n    return 1', "def f():\n    return 1"),
    "a module's": ('"""One."""\nx = 1', "x = 1"),
    "a comment and a layout": ("x = [1,  # one\n 2]", "x = [1, 2]"),
    "an annotation": ("def f(x: int) -> str: return x", "def f(x): return x"),
    "an annotation of a variable": ("x: int = 1", "x = 1"),
    "a type": ("class C:\n    x: int", "class C:\n    x: float"),
    "an error": ('raise ValueError("one")', 'raise ValueError("two", x)'),
    "an error that is made": ('return UserError(f"one {x}")', 'return UserError("two")'),
    "a message": ('say(f"{x} of {y}")', 'say("done")'),
    "a warning": ('warnings.warn("one", stacklevel=2)', 'warnings.warn("two")'),
    "a log": ('logger.info("one")', 'logger.info("two", x)'),
    "a description": ('x = Field(1, description="one")', "x = Field(1)"),
    "imports for types": ("if TYPE_CHECKING:\n    import torch\nx = 1", "x = 1"),
}
OTHER = {
    "a constant": ("x = 1", "x = 2"),
    "an operator": ("x = a + b", "x = a - b"),
    "a default": ("def f(x=1): pass", "def f(x=2): pass"),
    "a default behind an annotation": ("x: int = 1", "x: int = 2"),
    "another error": ("raise ValueError", "raise KeyError"),
    "a text that is computed with": ('x = "one"', 'x = "two"'),
    "an argument": ("f(1)", "f(2)"),
    "a method called info": ("hub.info(a)", "hub.info(b)"),
    "a decorator": ("@cache\ndef f(): pass", "def f(): pass"),
    "the order of fields": ("class C:\n    x: int\n    y: int", "class C:\n    y: int\n    x: int"),
    "a condition": ("if a: x = 1", "if not a: x = 1"),
    "a keyword": ("f(description=1)", "f(description=2)"),
    "what is done without type checking": ("if TYPE_CHECKING:\n    pass\nelse:\n    x = 1", "x = 2"),
}


@pytest.mark.parametrize("case", SAME)
def test_rewording_keeps_it(case):
    one, other = SAME[case]
    assert meaning(one) == meaning(other)


@pytest.mark.parametrize("case", OTHER)
def test_computing_something_else_changes_it(case):
    one, other = OTHER[case]
    assert meaning(one) != meaning(other)


def test_every_module_has_one_that_is_python():
    for file in PACKAGE.rglob("*.py"):
        text = meaning(file.read_text(encoding="utf-8"))
        compile(text, str(file), "exec")
        assert meaning(text) == text, file


def test_it_is_the_same_in_every_process():
    """Not of the kind that depends on the seed of hashes."""
    code = "import sys; from qatlab.stage_code import stage_meaning; print(stage_meaning('train'))"
    runs = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(PACKAGE.parent)},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("0", "1")
    ]  # fmt: skip
    assert runs[0] == runs[1]
    assert len(runs[0].strip()) == 64
