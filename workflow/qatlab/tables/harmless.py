r"""Escaping of texts from configurations and data in tables, for spreadsheets, browsers, LaTeX and terminals.

Numbers stay unchanged, and so does nearly every text: only what would be executed instead of shown is escaped.
"""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from qatlab.errors import printable

FORMULA = re.compile(r"\s*[=+\-@]")  # the start of a cell that a spreadsheet would compute
# One number or several: "-0.5", "+0.03 to +0.05", "-0.8184 ± 0.0044", "-3.2 %".
_NUMBER = r"[+-]?(\d+(\.\d*)?|\.\d+|nan|inf)([eE][+-]?\d+)?( ?%)?"
FIGURES = re.compile(rf"{_NUMBER}( (±|to) {_NUMBER})*")
MARKUP = re.compile(r"[\\|<\[\]`]")
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def in_csv(value: Any) -> Any:
    """Escape a cell for CSV: prefix formulas with an apostrophe, which marks texts in spreadsheets, and remove control characters."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if FORMULA.match(value) and not FIGURES.fullmatch(value) else text


def in_markdown(value: Any) -> Any:
    """Escape a cell, title or heading for Markdown, so that it contains no HTML, links, code or column separators."""
    return MARKUP.sub(_as_shown, printable(value)) if isinstance(value, str) else value


def _as_shown(match: re.Match[str]) -> str:
    return "&lt;" if match.group() == "<" else f"\\{match.group()}"


def in_code(value: Any) -> str:
    """Escape a text that is put between backticks in Markdown, also inside a cell of a table."""
    return printable(value).replace("`", "'").replace("|", "\\|")


def in_latex(text: str) -> str:
    """Escape a title for LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in printable(text))


def with_cells(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    """Apply `change` to the texts and column names of a table; numbers stay numbers."""
    texts = [column for column in table.columns if table[column].dtype == object or is_text(table[column])]
    changed = table.assign(**{column: table[column].map(change) for column in texts})
    return changed.rename(columns=change)


def is_text(column: pd.Series) -> bool:
    """Return whether a column contains texts."""
    return bool(pd.api.types.is_string_dtype(column))


def write_csv(table: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """Write a CSV file without formulas and control characters.

    Args:
        table: the table, written without its index.
        path: the file to write.
        float_format: printf format of floats, such as `%.6g`; None writes all digits.
    """
    with_cells(table, in_csv).to_csv(path, index=False, float_format=float_format)


def markdown_table(table: pd.DataFrame) -> str:
    """Format a table as Markdown, with texts escaped so that they are shown literally."""
    text: str = with_cells(table, in_markdown).to_markdown(index=False, disable_numparse=True)
    return text
