"""The page of all studies: those that have tables, with their answers."""

import json

import pandas as pd

from qatlab.job import JobDescription
from qatlab.stages import index


def study(folder, name, question=None, answers=None, scale="small"):
    (folder / name / "tables").mkdir(parents=True)
    about = {"study": name, "title": f"Title of {name}", "scale": scale, "question": question, "runs": 1}
    (folder / name / "study.json").write_text(json.dumps(about))
    (folder / name / "tables" / "scores_by_precision.md").write_text("a table")
    if answers is not None:
        pd.DataFrame(answers).to_csv(folder / name / "tables" / "answers.csv", index=False)


def test_every_study_with_its_question_and_answers(tmp_path):
    studies, output = tmp_path / "studies", tmp_path / "out"
    output.mkdir()
    answers = [
        {
            "asked of": "a against b",
            "difference or ratio": "+0.0100",
            "95 % interval": "-0.01 to +0.03",
            "verdict": "not separable",
        }
    ]
    study(studies, "second", scale="full")
    study(studies, "first", "Does it pay?", answers)
    (studies / "unfinished").mkdir()
    index.run(JobDescription(config={}), {"studies": studies}, output, None)
    page = (output / "index.md").read_text()
    assert page.index("## Title of first") < page.index("## Title of second")
    assert "*Does it pay?*" in page
    assert "| a against b | +0.0100               | -0.01 to +0.03  | not separable |" in page
    assert "Study `second`, scale full. Tables: [scores_by_precision](second/tables/scores_by_precision.md)" in page
    assert "unfinished" not in page


def test_it_says_which_runs_failed_and_why(tmp_path):
    studies, output = tmp_path / "studies", tmp_path / "out"
    output.mkdir()
    study(studies, "frail", "Does it pay?", [{"asked of": "a against b", "verdict": "failed"}])
    about = json.loads((studies / "frail" / "study.json").read_text())
    lacking = [
        {"run": "a-seed=1", "status": "failed", "failure": "train a-seed=1: diverged at step 12"},
        {"run": "b-seed=0", "status": "not run", "failure": None},
    ]
    (studies / "frail" / "study.json").write_text(json.dumps(about | {"runs": 4, "incomplete": lacking}))
    study(studies, "whole")
    index.run(JobDescription(config={}), {"studies": studies}, output, None)
    page = (output / "index.md").read_text()
    assert "**2 of 4 runs are not complete:**" in page
    assert "- `a-seed=1` failed: train a-seed=1: diverged at step 12\n- `b-seed=0` not run\n" in page
    assert page.count("not complete") == 1
    assert "| a against b | failed    |" in page
