"""Stage index: one page of all studies that have tables, with the question and the answers of each."""

from pathlib import Path

import pandas as pd

from qatlab.artifact import read_json
from qatlab.job import JobDescription
from qatlab.study.record import StudySummary
from qatlab.tables.labels import in_markdown, markdown_table

INTRODUCTION = """\
# Studies

The question of each study, and its results with 95 % intervals. A study at another scale than *full* applies the same question to
another, smaller model and to other data, and its answer is valid for those only.
"""


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write index.md from every study's study.json and tables/answers.csv."""
    studies = [folder for folder in sorted(inputs["studies"].iterdir()) if (folder / "study.json").is_file()]
    sections = [_section(folder) for folder in studies]
    (output / "index.md").write_text("\n".join([INTRODUCTION, *sections]), encoding="utf-8")


def _section(folder: Path) -> str:
    """Return the section of a study: a heading, the question, the answers, and links to its tables."""
    study = StudySummary.model_validate(read_json(folder / "study.json"))
    lines = [f"## {in_markdown(study.title)}", ""]
    lines += [f"*{in_markdown(study.question)}*", ""] if study.question else []
    lines += _incomplete(study)
    lines += [f"Study `{study.study}`, scale {study.scale}. {_links(folder)}", ""]
    answers = folder / "tables" / "answers.csv"
    if answers.is_file():
        table = pd.read_csv(answers, dtype=str, keep_default_na=False)
        lines += [markdown_table(table), ""]
    return "\n".join(lines)


def _incomplete(study: StudySummary) -> list[str]:
    """Return the list of runs that failed or did not run, with the reasons."""
    incomplete = study.incomplete
    if not incomplete:
        return []
    lines = [f"- `{run.run}` {run.status}" + (f": {run.failure}" if run.failure else "") for run in incomplete]
    return [f"**{len(incomplete)} of {study.runs} runs are not complete:**", "", *lines, ""]


def _links(folder: Path) -> str:
    """Return links to the existing tables among those that readers want first."""
    names = ("published", "scores_by_precision", "against_baseline", "qat_minus_ptq", "cost_of_training")
    existing = [name for name in names if (folder / "tables" / f"{name}.md").is_file()]
    return "Tables: " + ", ".join(f"[{name}]({folder.name}/tables/{name}.md)" for name in existing)
