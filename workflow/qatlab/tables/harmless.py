r"""Texts of configurations and data in tables, made harmless for whatever opens them: a spreadsheet, a browser, LaTeX, a terminal.

Numbers stay as they are, and so does nearly every text: only what would be obeyed instead of shown is changed.
"""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from qatlab.errors import printable

FORMULA = re.compile(r"\s*[=+\-@]")  # what a spreadsheet computes begins so
# A figure, or several: "-0.5", "+0.03 to +0.05", "-0.8184 ± 0.0044", "-3.2 %".
_NUMBER = r"[+-]?(\d+(\.\d*)?|\.\d+|nan|inf)([eE][+-]?\d+)?( ?%)?"
FIGURES = re.compile(rf"{_NUMBER}( (±|to) {_NUMBER})*")
MARKUP = re.compile(r"[\\|<\[\]`]")
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def in_csv(value: Any) -> Any:
    """A cell as it stands in a CSV file: a formula has an apostrophe before it, as spreadsheets have for texts."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if FORMULA.match(value) and not FIGURES.fullmatch(value) else text


def in_markdown(value: Any) -> Any:
    """A cell, title or heading as it stands in Markdown: no HTML, links, code or further columns."""
    return MARKUP.sub(_as_shown, printable(value)) if isinstance(value, str) else value


def _as_shown(match: re.Match[str]) -> str:
    return "&lt;" if match.group() == "<" else f"\\{match.group()}"


def in_code(value: Any) -> str:
    """Between backticks, in Markdown; in a cell of a table too."""
    return printable(value).replace("`", "'").replace("|", "\\|")


def in_latex(text: str) -> str:
    """A title as it stands in LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in printable(text))


def with_cells(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    """A table whose texts, names of columns included, are changed; its numbers stay numbers."""
    texts = [column for column in table.columns if table[column].dtype == object or is_text(table[column])]
    changed = table.assign(**{column: table[column].map(change) for column in texts})
    return changed.rename(columns=change)


def is_text(column: pd.Series) -> bool:
    """Whether a column is of texts."""
    return bool(pd.api.types.is_string_dtype(column))


def write_csv(table: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """A CSV file without formulas and control characters."""
    with_cells(table, in_csv).to_csv(path, index=False, float_format=float_format)


def markdown_table(table: pd.DataFrame) -> str:
    """A Markdown table whose texts are shown as they are."""
    text: str = with_cells(table, in_markdown).to_markdown(index=False, disable_numparse=True)
    return text
