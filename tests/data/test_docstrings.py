"""The CodeSearchNet protocol on an installed package."""

import ast

import pytest

from qatlab.data import docstrings
from qatlab.errors import UserError


def test_pairs_of_a_real_package_keep_the_protocol():
    pairs = docstrings.extract("networkx")
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
    ((name, summary, code),) = docstrings._functions(tmp_path / "a.py")
    assert (name, summary) == ("4:area", "Area in square metres.")
    assert code == "def area(self, scale=1):\n    # a comment stays\n    width = self.width\n    return width * scale"
    ast.parse(code)


def test_files_that_are_not_python_are_passed_over(tmp_path):
    (tmp_path / "template.py").write_text("def {{ name }}():\n")
    assert list(docstrings._functions(tmp_path / "template.py")) == []


def test_an_unknown_package_is_named():
    with pytest.raises(UserError, match="'nopackage' is not installed"):
        docstrings.package_version("nopackage")
