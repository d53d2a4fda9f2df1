"""The page of all studies: those that have tables, with their answers."""

import json

import pandas as pd

from html_elements import Elements
from qatlab.job import JobDescription
from qatlab.stages import index
from study_folder import CONCLUSION


def study(folder, name, question=None, answers=None, scale="small"):
    (folder / name / "tables").mkdir(parents=True)
    about = {"study": name, "title": f"Title of {name}", "scale": scale, "question": question, "runs": 1}
    (folder / name / "study.json").write_text(json.dumps(about))
    (folder / name / "tables" / "scores_by_precision.csv").write_text("a table")
    if answers is not None:
        pd.DataFrame(answers).to_csv(folder / name / "tables" / "answers.csv", index=False)


def test_every_study_with_its_question_and_answers(tmp_path):
    studies, output = tmp_path / "studies", tmp_path / "out"
    output.mkdir()
    answers = [
        {
            "comparison": "a against b",
            "difference or ratio": "+0.0100",
            "95 % interval": "-0.01 to +0.03",
            "verdict": "not separable",
        }
    ]
    study(studies, "second", scale="full")
    study(studies, "first", "Does it pay?", answers)
    (studies / "unfinished").mkdir()
    index.run(JobDescription(config={}), {"studies": studies}, output, None)
    page = Elements((output / "index.html").read_text())
    headings = [values["id"] for tag, values in page.elements if tag == "h2"]
    assert headings == ["first", "second"]
    words = page.words()
    assert words.index("Title of first") < words.index("Does it pay?") < words.index("Title of second")
    assert (
        "comparison difference or ratio 95 % interval verdict a against b +0.0100 -0.01 to +0.03 not separable" in words
    )
    assert "Study second , scale full, 1 run. Tables: scores_by_precision" in words
    assert "unfinished" not in words
    links = [values["href"] for tag, values in page.elements if tag == "a"]
    assert links == ["first/tables/scores_by_precision.csv", "second/tables/scores_by_precision.csv"]


def test_a_study_with_a_page_and_a_conclusion_links_and_shows_them(tmp_path):
    studies, output = tmp_path / "studies", tmp_path / "out"
    output.mkdir()
    study(studies, "first")
    study(studies, "second")
    (studies / "second" / "index.html").write_text("a page")
    (studies / "second" / "conclusion.json").write_text(json.dumps(CONCLUSION))
    index.run(JobDescription(config={}), {"studies": studies}, output, None)
    page = Elements((output / "index.html").read_text())
    assert [values["href"] for tag, values in page.elements if tag == "a"][1] == "second/index.html"
    assert (
        "Title of second Study second , scale small, 1 run. Tables: scores_by_precision . Binary costs baseline"
        in page.words()
    )


def test_it_says_which_runs_failed_and_why(tmp_path):
    studies, output = tmp_path / "studies", tmp_path / "out"
    output.mkdir()
    study(studies, "frail", "Does it pay?", [{"comparison": "a against b", "verdict": "failed"}])
    about = json.loads((studies / "frail" / "study.json").read_text())
    lacking = [
        {"run": "a-seed=1", "status": "failed", "failure": "train a-seed=1: diverged at step 12"},
        {"run": "b-seed=0", "status": "not run", "failure": None},
    ]
    (studies / "frail" / "study.json").write_text(json.dumps(about | {"runs": 4, "incomplete": lacking}))
    study(studies, "whole")
    index.run(JobDescription(config={}), {"studies": studies}, output, None)
    page = Elements((output / "index.html").read_text())
    words = page.words()
    assert "2 of 4 runs are not complete:" in words
    assert "a-seed=1 failed: train a-seed=1: diverged at step 12 b-seed=0 not run" in words
    assert words.count("not complete") == 1
    assert "a against b failed" in words
