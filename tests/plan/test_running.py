"""Pages of running studies: they show the runs that are complete, and stop before the page of the finished study."""

import json
import shutil
import time

import pytest

from conftest import PROJECT
from html_elements import Elements
from qatlab.evaluation.outputs import planned_scores, write_scores
from qatlab.plan import running
from qatlab.plan.plan import load_study
from qatlab.plan.running import ProgressPages, StudyProgress
from qatlab.progress import mark, unmark
from qatlab.tables.missing import run_paths

METHODS = ("untrained", "baseline", "ste")


@pytest.fixture(scope="module")
def plan():
    overrides = ["study.matrix.method=[untrained,baseline,ste]", "deploy=[torch_fp32]", "study.decomposition=[]"]
    return load_study(PROJECT / "conf", "quickstart", overrides=[*overrides, "evaluate.bit_axes=[]"])


def all_paths(run):
    return [*run_paths(run), *(path for entry in run.evaluations for path in entry.bit_changes.values())]


def make(plan, results, method, value=0.5):
    """Write what the page reads of all artifacts of a run, each under its final name at once, as stages do."""
    (run,) = [run for run in plan.record().runs if run.method == method]
    config = plan.runs[0].config.evaluate
    for path in all_paths(run):
        partial = results / f"{path}.partial"
        shutil.rmtree(results / path, ignore_errors=True)
        partial.mkdir(parents=True)
        kind = path.partition("/")[0]
        if kind == "encode":
            (partial / "machine.json").write_text(json.dumps({"features": [], "integer_kernel": None}))
        if kind == "train":
            (partial / "config.json").write_text(json.dumps({"config": {"method": {"name": method}}}))
        if kind == "score":
            rows = planned_scores(config, "retrieval")
            write_scores(partial, [{**row, "value": value, "stderr": 0.01, "queries": 9} for row in rows])
        partial.replace(results / path)
    return run


def shown(progress):
    return Elements((progress.folder / "index.html").read_text()).words()


def test_it_fills_run_by_run_and_shows_scores_without_intervals(plan, tmp_path):
    progress = StudyProgress(plan, tmp_path, plan.artifacts)
    assert progress.refresh()
    words = shown(progress)
    assert "0 of 3 runs are complete." in words
    assert "The answer, with intervals and a recommendation, follows when all runs are complete." in words
    assert "Scores so far" not in words
    assert not progress.refresh()  # nothing has changed
    make(plan, tmp_path, "untrained", 0.25)
    assert progress.refresh()
    words = shown(progress)
    assert "1 of 3 runs are complete." in words
    assert "untrained torch_fp32 0.2500 0.2500" in words
    assert "baseline torch_fp32 not run not run" in words
    assert words.count("not complete yet") == 2
    make(plan, tmp_path, "baseline")
    make(plan, tmp_path, "ste")
    assert progress.refresh()
    assert "3 of 3 runs are complete." in shown(progress)
    assert not list(progress.folder.glob(".*"))
    assert '<meta http-equiv="refresh"' in (progress.folder / "index.html").read_text()


def test_a_run_that_lacks_one_score_is_not_complete_but_its_other_scores_are_shown(plan, tmp_path):
    progress = StudyProgress(plan, tmp_path, plan.artifacts)
    run = make(plan, tmp_path, "ste")
    shutil.rmtree(tmp_path / next(entry.score for entry in run.evaluations if entry.task == "networkx"))
    progress.refresh()
    assert "0 of 3 runs are complete." in shown(progress)
    assert "ste torch_fp32 0.5000 0.5000 0.5000 not run not run not run" in shown(progress)


def test_artifacts_of_an_earlier_workflow_count_only_if_they_are_not_made_again(plan, tmp_path):
    runs = {method: make(plan, tmp_path, method) for method in METHODS}
    again = run_paths(runs["ste"])[-1:]
    progress = StudyProgress(plan, tmp_path, [*again, "studies/quickstart/runs.csv"])
    assert progress.refresh()
    assert "2 of 3 runs are complete." in shown(progress)
    make(plan, tmp_path, "ste", 0.75)
    assert progress.refresh()
    assert "3 of 3 runs are complete." in shown(progress)
    assert "0.7500" in shown(progress)


def test_a_failure_shows_its_reason_until_another_attempt_begins(plan, tmp_path):
    (run,) = [run for run in plan.record().runs if run.method == "ste"]
    (tmp_path / "train").mkdir()
    mark(tmp_path / run.trained, "train", "ste-seed=0", ValueError("an old one"))
    progress = StudyProgress(plan, tmp_path, plan.artifacts)
    progress.refresh()
    assert "an old one" not in shown(progress)
    unmark(tmp_path / run.trained)
    mark(tmp_path / run.trained, "train", "ste-seed=0", ValueError("diverged <b>"))
    assert progress.refresh()
    assert "failed: train ste-seed=0: ValueError: diverged <b>" in shown(progress)
    unmark(tmp_path / run.trained)
    assert progress.refresh()
    assert "diverged" not in shown(progress)


def test_the_page_of_the_finished_study_is_never_replaced(plan, tmp_path, monkeypatch):
    progress = StudyProgress(plan, tmp_path, plan.artifacts)
    progress.refresh()
    make(plan, tmp_path, "ste")
    page = progress.folder / "index.html"

    def slow(*arguments):
        (progress.folder / "study.json").write_text("{}")  # the stage `tables` ends while the page is being written
        page.write_text("the final page")
        return "a page of a running study"

    monkeypatch.setattr(running, "unfinished_page", slow)
    assert not progress.refresh()
    make(plan, tmp_path, "baseline")
    assert not progress.refresh()
    assert page.read_text() == "the final page"
    assert {path.name for path in progress.folder.iterdir()} == {"index.html", "study.json"}


def test_a_study_whose_tables_alone_are_made_again_keeps_its_page(plan, tmp_path):
    assert not ProgressPages([plan], tmp_path, ["studies/quickstart/runs.csv"]).studies


def test_the_thread_writes_until_it_is_stopped_and_survives_what_it_cannot_read(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(running, "SHARE", 1.0)
    pages = ProgressPages([plan], tmp_path, plan.artifacts)
    pages.start()

    def wait_for(text):
        page = tmp_path / "studies" / "quickstart" / "index.html"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if page.is_file() and text in Elements(page.read_text()).words():
                return True
            time.sleep(0.01)
        return False

    assert wait_for("0 of 3 runs")
    run = make(plan, tmp_path, "ste")
    broken = tmp_path / next(entry.score for entry in run.evaluations) / "scores.json"
    whole = broken.read_text()
    broken.write_text("{")
    make(plan, tmp_path, "untrained")
    broken.write_text(whole)
    assert wait_for("2 of 3 runs")
    pages.stop()
    make(plan, tmp_path, "baseline")
    time.sleep(0.1)
    assert "2 of 3 runs" in shown(pages.studies[0])


def test_it_takes_a_small_share_of_the_time(plan, tmp_path):
    """A look without a change takes milliseconds, and after each the thread waits 50 times as long as it took."""
    for method in METHODS:
        make(plan, tmp_path, method)
    progress = StudyProgress(plan, tmp_path, plan.artifacts)
    progress.refresh()
    begin = time.process_time()
    for _ in range(20):
        progress.refresh()
    assert (time.process_time() - begin) / 20 < 0.05
    assert running.SHARE <= 0.02
