"""Tables and plots of a finished study as if one of its artifacts had failed, and what must hold for every one of them."""

from pathlib import Path

import pandas as pd

from qatlab.artifact import write_json
from qatlab.job import JobDescription
from qatlab.plan.plan import Plan
from qatlab.plan.unfinished import missing_artifacts
from qatlab.stages import plots, tables
from qatlab.tables.missing import ARTIFACTS

BLANK = ("", "–", "nan", "<NA>")
LONG = ("scores", "drift", "cost", "search")


def shown_without(plan: Plan, results: Path, path: str, output: Path) -> dict[str, pd.DataFrame]:
    """Each table, all of it text, where the job of one artifact failed and what follows it did not run."""
    unfinished = {path}
    for follows, artifact in plan.artifacts.items():
        if unfinished & set(artifact.inputs.values()):
            unfinished.add(follows)
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
    """Each table of a study's folder, all of it text."""
    return {file.stem: pd.read_csv(file, dtype=str, keep_default_na=False) for file in study.glob("tables/*.csv")}


def check_nothing_is_blank(shown: dict[str, pd.DataFrame], whole: dict[str, pd.DataFrame]) -> None:
    """The tables have the rows and columns that they have of the whole study, and no blank cell that is none there."""
    assert set(shown) == set(whole)
    for name, table in shown.items():
        assert len(table) == len(whole[name]), name
        assert list(table.columns)[: len(whole[name].columns)] == list(whole[name].columns), name
        if name in LONG:
            assert set(table["status"]) <= {"ok", "failed"}
            continue
        for column in whole[name]:
            blank = table[column].isin(BLANK) & ~whole[name][column].isin(BLANK)
            assert not blank.any(), (name, column)
    assert any((table == "failed").any(axis=None) for table in shown.values())
