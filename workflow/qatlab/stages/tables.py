"""Stage tables: all results of a study in long tables, and summary tables of them."""

from pathlib import Path

from qatlab.artifact import write_json
from qatlab.job import JobDescription
from qatlab.study.record import CONCLUSION_FILE, StudyRecord, StudySummary
from qatlab.tables import long, wide
from qatlab.tables.gathered import Gathered
from qatlab.tables.labels import write_csv
from qatlab.tables.missing import in_words, incomplete_runs, read_missing
from qatlab.tables.recommendation import conclude
from qatlab.tables.table import tables_of

FLOATS = "%.6f"


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write runs.csv, study.json, conclusion.json and tables/: scores, drift, cost and search, and summary tables in three formats.

    The input `missing` (see `qatlab.plan.plan`) lists missing artifacts, which tables show as failed or not run.
    """
    study, missing = StudyRecord.model_validate(description.config), read_missing(inputs)
    gathered = Gathered(study, inputs["results"], inputs.get("published"), missing)
    folder = output / "tables"
    folder.mkdir()
    write_csv(gathered.scores, folder / "scores.csv", FLOATS)
    write_csv(gathered.drift, folder / "drift.csv", "%.9f")
    write_csv(gathered.cost, folder / "cost.csv", FLOATS)
    write_csv(gathered.search, folder / "search.csv", FLOATS)
    write_csv(long.runs_table(gathered.runs, missing), output / "runs.csv")
    incomplete = incomplete_runs(gathered.runs, missing)
    suffix = f" – {in_words(incomplete)}" if incomplete else ""
    titles = {name: table.title(gathered) + suffix for name, table in tables_of(study).items()}
    summary = StudySummary(
        study=study.name,
        title=study.title,
        scale=study.scale,
        question=study.question,
        runs=len(study.runs),
        incomplete=tuple(incomplete),
        titles=titles,
    )
    write_json(output / "study.json", summary.model_dump(mode="json"))
    write_json(output / CONCLUSION_FILE, conclude(gathered).model_dump(mode="json"))
    for name, table in tables_of(study).items():
        wide.write_all_forms(table.rows(gathered), folder, name, titles[name])
