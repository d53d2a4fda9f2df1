"""Normalization of Python source to its meaning, without comments, docstrings, annotations, messages and descriptions of keys.

Two files with the same meaning produce the same artifacts, so rewording a file reruns nothing.
"""

import ast
from typing import TypeVar

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
