"""What Python source computes, without what it only says: comments, docstrings, annotations, messages, descriptions of keys.

Two files of the same meaning make the same artifacts, so that rewording one reruns nothing.
"""

import ast
from typing import TypeVar

Node = TypeVar("Node", ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

# Functions whose arguments a person reads. What they interpolate shapes no result either.
SAYING = ("say", "print", "unknown", "show_warnings")
LOGGING = ("logger", "logging", "warnings")  # and their methods
DESCRIPTIONS = ("description", "title", "help")  # keywords of Field and of options


def meaning(source: str) -> str:
    """Return Python source that computes the same, in one layout and without anything that is only read.

    Left out are comments, docstrings, annotations (a default stays), `if TYPE_CHECKING:`, the arguments of raised exceptions, the
    texts of exceptions that are made and of messages, and descriptions of configuration keys.

    Raises:
        SyntaxError: for source that is no Python.
    """
    return ast.unparse(ast.fix_missing_locations(_Meaning().visit(ast.parse(source))))


class _Meaning(ast.NodeTransformer):
    """Removes what is only read from a syntax tree."""

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
        """A field without a default keeps its name: dataclasses have their fields in this order."""
        target = self.visit(node.target)
        if node.value is None:
            return ast.Expr(target)
        return ast.Assign([target], self.visit(node.value))

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        """Of `if TYPE_CHECKING`, what is done otherwise."""
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
    """What a function is called by, and the name before the point: `warn` and `warnings` in `warnings.warn(…)`."""
    if isinstance(function, ast.Attribute):
        return function.attr, function.value.id if isinstance(function.value, ast.Name) else ""
    return (function.id if isinstance(function, ast.Name) else ""), ""
