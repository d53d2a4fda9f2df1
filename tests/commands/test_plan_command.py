"""qatlab plan --why says which key makes a study make an artifact again."""

import json

import pytest

from conftest import PROJECT
from qatlab.__main__ import main
from qatlab.plan.plan import load_study

SMALL = (
    "study.matrix.method=[baseline] study.decomposition=[] deploy=[torch_fp32] task=[stdlib] evaluate.bit_axes=[] "
    "data.rows=1024 trainer.learning_rate=1e-4"
)


@pytest.fixture
def results(tmp_path):
    """Folder that holds every artifact of a small study, with its description alone."""
    plan = load_study(PROJECT / "conf", "quickstart", None, SMALL.split())
    for path, artifact in plan.artifacts.items():
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "config.json").write_text(json.dumps(artifact.description))
    return tmp_path


@pytest.fixture
def why(results, capsys):
    """Function that returns the lines of `qatlab plan --why` for further overrides."""

    def lines(*overrides):
        given = [
            "--conf",
            str(PROJECT / "conf"),
            "--results",
            str(results),
            "--overrides",
            " ".join([SMALL, *overrides]),
        ]
        assert main(["plan", "--why", *given]) == 0
        shown = capsys.readouterr().out.splitlines()
        return [line.strip() for line in shown if "→" in line or "none has" in line or " exist;" in line]

    return lines


def test_nothing_is_made_again_without_a_change(why):
    (line,) = why()
    count, total = line.split(" artifacts")[0].split(" of ")
    assert count == total
    assert line.endswith("0 follow from those above")


def test_a_changed_key_is_named_once_and_what_follows_is_counted(why):
    changed, total = why("trainer.learning_rate=2e-5")
    assert changed.startswith("train baseline-seed=0: trainer.learning_rate 0.0001 → 2e-05 (before: ")
    assert int(total.rpartition("; ")[2].split()[0]) >= 3  # deployment, encoding, scores


def test_a_change_of_data_is_reported_for_the_data(why):
    data, _ = why("data.rows=512")
    assert data.startswith("data ")
    assert "rows 1024 → 512" in data


def test_an_artifact_without_a_predecessor_is_said_to_be_new(why):
    lines = why("study.matrix.seed=[0,1]")
    assert "train baseline-seed=1: none has been made yet" in lines
