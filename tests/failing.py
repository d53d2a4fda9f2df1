"""Tables and plots of a finished study in which one artifact is treated as failed, and checks that each of them must pass."""

from pathlib import Path

import pandas as pd

from qatlab.artifact import write_json
from qatlab.job import JobDescription
from qatlab.plan.plan import Plan, missing_artifacts
from qatlab.stages import plots, tables
from qatlab.tables.missing import ARTIFACTS

BLANK = ("", "–", "nan", "<NA>")
LONG = ("scores", "drift", "cost", "search")


def shown_without(plan: Plan, results: Path, path: str, output: Path) -> dict[str, pd.DataFrame]:
    """Return each table as text, as if the job of one artifact had failed and the jobs that depend on it had not run."""
    unfinished = {path}
    for dependent, artifact in plan.artifacts.items():
        if unfinished & set(artifact.inputs.values()):
            unfinished.add(dependent)
    output.mkdir()
    missing = missing_artifacts(plan, results, unfinished, {path})
    write_json(output / "missing.json", ARTIFACTS.dump_python(missing, mode="json"))
    inputs = {"results": results, "missing": output / "missing.json"}
    if plan.published is not None:
        inputs["published"] = plan.published.file
    description = JobDescription.model_validate(plan.study_description())
    tables.run(description, inputs, output, None)
    plots.run(description, inputs | {"tables": output / "tables"}, output, None)
    drawn = {file.stem for file in (output / "plots").glob("*.svg")}
    assert drawn == set(plan.plot_names())
    return read(output)


def read(study: Path) -> dict[str, pd.DataFrame]:
    """Return each table of a study's folder as text, keyed by name."""
    return {file.stem: pd.read_csv(file, dtype=str, keep_default_na=False) for file in study.glob("tables/*.csv")}


def check_nothing_is_blank(shown: dict[str, pd.DataFrame], complete: dict[str, pd.DataFrame]) -> None:
    """Check that the tables have the rows and columns of the complete study, and blank cells only where it has them."""
    assert set(shown) == set(complete)
    for name, table in shown.items():
        assert len(table) == len(complete[name]), name
        assert list(table.columns)[: len(complete[name].columns)] == list(complete[name].columns), name
        if name in LONG:
            assert set(table["status"]) <= {"ok", "failed"}
            continue
        for column in complete[name]:
            blank = table[column].isin(BLANK) & ~complete[name][column].isin(BLANK)
            assert not blank.any(), (name, column)
    assert any((table == "failed").any(axis=None) for table in shown.values())
