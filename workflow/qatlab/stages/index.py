"""Stage index: one page of all studies that have tables, with the question and the answers of each."""

from pathlib import Path

from qatlab.job import JobDescription
from qatlab.pages.page import PAGE, studies_page


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write index.html from every study's study.json, conclusion.json and tables/answers.csv."""
    studies = [folder for folder in sorted(inputs["studies"].iterdir()) if (folder / "study.json").is_file()]
    (output / PAGE).write_text(studies_page(studies), encoding="utf-8")
