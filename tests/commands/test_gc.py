"""Command gc lists the artifacts that no study refers to, and removes exactly these with --remove."""

import pytest

from qatlab.__main__ import main
from qatlab.artifact import write_json

ARTIFACTS = {
    "model/m-1": {},
    "data/d-1": {},
    "train/t-1": {"model": "model/m-1", "data": "data/d-1"},
    "train/t-2": {"model": "model/m-1", "data": "data/d-1"},
    "deploy/p-1": {"model": "train/t-1"},
    "data/d-2": {},
    "train/t-3": {"model": "model/m-1", "data": "data/d-2"},
}


@pytest.fixture
def results(tmp_path):
    """Study `one` refers to p-1, and so to its inputs; study `two`, which no longer has a file, refers to t-3."""
    for path, inputs in ARTIFACTS.items():
        for folder in ("plan", "results", "logs"):
            (tmp_path / folder).mkdir(exist_ok=True)
        file = tmp_path / "results" / "plan" / f"{path}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"inputs": inputs})
        (tmp_path / "results" / path).mkdir(parents=True)
        (tmp_path / "results" / path / "file").write_bytes(b"x" * 1000)
        log = tmp_path / "results" / "logs" / f"{path}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
    (tmp_path / "results" / "plan" / "study").mkdir()
    for study, named in {"one": "deploy/p-1", "two": "train/t-3"}.items():
        runs = [{"run": "a", "deployed": {"torch": named}}]
        write_json(tmp_path / "results" / "plan" / "study" / f"{study}.json", {"config": {"runs": runs}})
    (tmp_path / "conf" / "study").mkdir(parents=True)
    (tmp_path / "conf" / "study" / "one.yaml").touch()
    for leftover in (".t-1.partial", ".t-1.checkpoints", ".t-2.checkpoints"):
        (tmp_path / "results" / "train" / leftover).mkdir()
    for mark in (".t-1.failed.json", ".t-2.failed.json", ".t-9.failed.json"):
        (tmp_path / "results" / "train" / mark).touch()
    return tmp_path / "results"


def gc(results, *more):
    return main(["gc", "--results", str(results), "--conf", str(results.parent / "conf"), *more])


def folders(results):
    kinds = {path.split("/")[0] for path in ARTIFACTS}
    return {f"{kind}/{path.name}" for kind in kinds for path in (results / kind).iterdir()}


def test_it_lists_and_removes_nothing_without_the_option(results, capsys):
    before = folders(results)
    assert gc(results) == 0
    printed = capsys.readouterr().out
    assert folders(results) == before
    listed = {line.split("/results/")[1] for line in printed.splitlines() if "/results/" in line}
    assert listed == {"train/t-2", "train/t-3", "data/d-2", "train/.t-1.partial", "train/.t-2.checkpoints"}
    assert "1.0 kB" in printed
    assert "study two no longer has a file" in printed
    assert "5 folders, 3.0 kB: to be removed with --remove; artifacts of studies one are kept" in printed


def test_with_the_option_it_removes_exactly_the_listed_folders(results):
    assert gc(results, "--remove") == 0
    kept = {"model/m-1", "data/d-1", "train/t-1", "deploy/p-1", "train/.t-1.checkpoints", "train/.t-1.failed.json"}
    assert folders(results) == kept
    assert not (results / "plan" / "train" / "t-2.json").exists()
    assert not (results / "logs" / "train" / "t-2.log").exists()
    assert not (results / "plan" / "study" / "two.json").exists()
    assert (results / "plan" / "train" / "t-1.json").exists()
    assert gc(results, "--remove") == 0


def test_it_removes_nothing_while_a_workflow_runs(results, capsys):
    locks = results.parent / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    before = folders(results)
    assert gc(results, "--remove") == 2
    assert "a workflow runs on these results" in capsys.readouterr().err
    assert folders(results) == before
    assert gc(results) == 0


def test_a_folder_without_studies_is_one_line(tmp_path, capsys):
    assert gc(tmp_path) == 2
    assert "holds no study" in capsys.readouterr().err


def test_a_study_of_the_command_score_is_kept_as_long_as_its_results_are(results, capsys):
    plans = results / "plan" / "study"
    (plans / "two.json").rename(plans / "score_two.json")
    assert gc(results) == 0
    assert "train/t-3" in capsys.readouterr().out
    (results / "studies" / "score_two").mkdir(parents=True)
    assert gc(results) == 0
    assert "train/t-3" not in capsys.readouterr().out
