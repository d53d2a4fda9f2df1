"""The CodeSearchNet protocol on an installed package."""

import ast
import gc

import pytest

from qatlab.errors import UserError
from qatlab.sources import packages


def test_pairs_of_a_real_package_keep_the_protocol():
    pairs = packages.extract("networkx")
    assert len(pairs) > 800
    assert (
        len({pair.summary for pair in pairs})
        == len({pair.code for pair in pairs})
        == len({pair.id for pair in pairs})
        == len(pairs)
    )
    for pair in pairs:
        assert len(pair.summary.split()) >= 3
        assert pair.code.count("\n") >= 2
        assert pair.summary not in pair.code


def test_the_code_is_the_function_without_its_docstring(tmp_path):
    source = '''
class A:
    @property
    def area(self, scale=1):
        """Area in square metres.

        Longer text.
        """
        # a comment stays
        width = self.width
        return width * scale

    def test_nothing(self):
        """A test is left out here."""
        pass
        return 1

    def __len__(self):
        """Dunder methods are left out."""
        value = 1
        return value
'''
    (tmp_path / "a.py").write_text(source)
    ((name, summary, code),) = packages._functions(tmp_path / "a.py")
    assert (name, summary) == ("4:area", "Area in square metres.")
    assert code == "def area(self, scale=1):\n    # a comment stays\n    width = self.width\n    return width * scale"
    ast.parse(code)


def test_functions_are_found_in_all_statements_in_the_order_of_ast_walk():
    """The order decides which of two duplicates is kept."""
    blocks = """
if a:
    def one(): pass
elif b:
    def two(): pass
else:
    for _ in c:
        def three(): pass
    else:
        async def four(): pass
try:
    def five(): pass
except A:
    def six(): pass
else:
    with d as e:
        def seven(): pass
finally:
    while f:
        def eight(): pass
match g:
    case 1:
        class B:
            def nine(self):
                def ten(): pass
def eleven(x=lambda: 1): return [y for y in x]
"""
    sources = [
        blocks,
        *(path.read_text() for path in sorted((packages.package_root("stdlib") / "email").glob("*.py"))),
    ]
    for tree in map(ast.parse, sources):
        named = [
            [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
            for nodes in (packages._statements(tree), ast.walk(tree))
        ]
        assert named[0] == named[1] != []
    assert len(list(packages._statements(ast.parse("def f(): pass")))) == 3  # the module, f and pass, but no argument


def test_reading_leaves_garbage_collection_as_it_was():
    gc.disable()
    try:
        packages.extract("networkx")
        assert not gc.isenabled()
    finally:
        gc.enable()
    packages.extract("networkx")
    assert gc.isenabled()


def test_files_that_are_not_python_are_passed_over(tmp_path):
    (tmp_path / "template.py").write_text("def {{ name }}():\n")
    assert list(packages._functions(tmp_path / "template.py")) == []


def test_an_unknown_package_is_named():
    with pytest.raises(UserError, match="'nopackage' is not installed"):
        packages.package_version("nopackage")
