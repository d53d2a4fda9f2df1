"""Stage plots: plots of a study's results."""

from pathlib import Path

from qatlab.job import JobDescription
from qatlab.plots import plot as style
from qatlab.plots.plot import DrawnFrom, plots_of
from qatlab.study.record import StudyRecord
from qatlab.tables.missing import read_missing


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write plots/ with each plot of the study as .svg and .png.

    Artifacts that the input `missing` (see `qatlab.plan.plan`) lists are left out, and named in the titles.
    """
    study = StudyRecord.model_validate(description.config)
    drawn_from = DrawnFrom(study, inputs["results"], inputs["tables"], read_missing(inputs))
    folder = output / "plots"
    folder.mkdir()
    style.use_style()
    for name, plot in plots_of(study).items():
        style.save(plot.draw(drawn_from) or style.nothing(drawn_from.title), folder, name)
