"""Texts in tables: names of outputs and scores, and texts of configurations and data, escaped for CSV, Markdown and LaTeX."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from qatlab.config.evaluate import COMPAT
from qatlab.errors import printable
from qatlab.evaluation.task import Kind
from qatlab.tables.names import metric_label

# Escaping of texts from configurations and data in tables, for spreadsheets, browsers, LaTeX and terminals.
#
# Numbers stay unchanged, and so does nearly every text: only what would be executed instead of shown is escaped.

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


FLOAT = "float32"
USUAL_RANGES = ("corpus", "none")
RANGES = {"per_call": "ranges per call", "training": "training's ranges", "model": "the model's ranges"}
SCORING = {
    "codes": " codes",
    "rabitq": " by RaBitQ",
    "bbq": " by BBQ",
    "scalar_quantizer": " by faiss",
    "sentence_transformers_compat": " as sentence-transformers scores",
    "mteb_compat": " as MTEB scores",
}


def precision_label(query_precision: str, doc_precision: str) -> str:
    """Return 'int8', or 'float32 × binary' where queries and documents differ."""
    return query_precision if query_precision == doc_precision else f"{query_precision} × {doc_precision}"


def output_label(score: Mapping[Any, Any]) -> str:
    """Return the label of a row of scores.csv, without its rotation.

    Examples: 'int8'; 'int8 codes, ranges per call'; 'binary → float32 of 40, 128 dimensions'.
    """
    label = precision_label(score["query_precision"], score["doc_precision"])
    label += SCORING.get(score["scoring"], "")
    compat = score["scoring"] in COMPAT  # these libraries always fit ranges on each call
    if score["rescoring"] != "none":
        label += f" → {score['rescoring'].replace(', ', ' → ')}"
    more = [] if score["ranges"] in USUAL_RANGES or compat else [RANGES[score["ranges"]]]
    if score["index"] != "flat":
        more.append(score["index"].replace("_", " "))
    if not pd.isna(score["dimensions"]):
        more.append(f"{int(score['dimensions'])} dimensions")
    return ", ".join([label, *more])


def precision_labels(scores: pd.DataFrame) -> pd.Series:
    """Return `output_label` of each row of scores.csv, with the index of the rows."""
    columns = scores[["query_precision", "doc_precision", "scoring", "ranges", "rescoring", "index", "dimensions"]]
    labels = [output_label(row) for row in columns.to_dict("records")]
    return pd.Series(labels, index=scores.index, dtype=object)


def output_labels(scores: pd.DataFrame) -> pd.Series:
    """Return `precision_labels` with the rotation, if there is one, on a line before the label."""
    rotations = scores["rotation"].where(scores["rotation"] != "none", "")
    return rotations.where(rotations == "", rotations + ":\n") + precision_labels(scores)


def on_axes(scores: pd.DataFrame, labels: Collection[str]) -> pd.DataFrame:
    """Return the rows of scores.csv whose rotation has one of the labels."""
    return scores[scores["rotation"].isin(labels)]


MAIN = "main score"
OF_KIND = {
    "agreement": "overlap@10",
    "reranking": "accuracy@1",
    "similarity": "spearman",
    "translation": "chrf",
    "language_modelling": "bits_per_byte",
}


def main_metrics(kinds: Mapping[str, Kind], retrieval: str) -> dict[str, str]:
    """Return the main metric of each task, from the kind of each task and the study's metric for retrieval."""
    return {task: OF_KIND.get(kind, retrieval) for task, kind in kinds.items()}


def main_scores(scores: pd.DataFrame, metrics: Mapping[str, str]) -> tuple[pd.DataFrame, str]:
    """Return the rows of scores.csv with these metrics, and the name of the metric: MAIN if tasks have different metrics.

    Args:
        scores: scores.csv.
        metrics: main metric by task.
    """
    chosen = scores[scores["metric"] == scores["task"].map(metrics)]
    names = list(dict.fromkeys(metrics.values()))
    return (chosen, names[0]) if len(names) == 1 else (chosen.assign(metric=MAIN), MAIN)


def main_label(metrics: Mapping[str, str]) -> str:
    """Return the label of the main metric: 'nDCG@10', or "main score (nDCG@10; Spearman's ρ of stsbenchmark)".

    The metric of most tasks comes first, without the names of its tasks.
    """
    tasks: dict[str, list[str]] = {}
    for task, metric in metrics.items():
        tasks.setdefault(metric, []).append(task)
    first, *others = sorted(tasks, key=lambda metric: -len(tasks[metric]))
    if not others:
        return metric_label(first)
    named = [f"{metric_label(metric)} of {', '.join(tasks[metric])}" for metric in others]
    return f"{MAIN} ({'; '.join([metric_label(first), *named])})"
