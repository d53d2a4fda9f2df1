"""Stage page: one self-contained page with a study's answer, recommendation, plots, tables, and how they were made."""

from pathlib import Path

from qatlab.job import JobDescription
from qatlab.pages.page import PAGE, now, study_page
from qatlab.study.record import StudyRecord
from qatlab.tables.missing import read_missing


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write index.html from the files that the stages `tables` and `plots` wrote into the study's folder, the input `study`.

    The page names artifacts that the input `missing` (see `qatlab.plan.plan`) lists as missing.
    """
    study = StudyRecord.model_validate(description.config)
    page = study_page(study, inputs["study"], inputs["results"], read_missing(inputs), now())
    (output / PAGE).write_text(page, encoding="utf-8")
