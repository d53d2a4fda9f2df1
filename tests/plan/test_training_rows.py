"""What files of the user's own say of a training, before any job: rows, and different texts for a batch."""

import os
import time

import pytest

from conftest import PROJECT
from qatlab import remembered
from qatlab.artifact import sha256_of
from qatlab.errors import UserError
from qatlab.plan.plan import load_study
from qatlab.sources import readers

SMALL = ("deploy=[torch_fp32]", "study.matrix.method=[baseline]", "study.decomposition=[]", "data=local")


def plan(path, *overrides):
    return load_study(PROJECT / "conf", "quickstart", overrides=[*SMALL, f"data.path={path}", *overrides])


def written(path, rows):
    path.write_text("anchor,positive\n" + "".join(f"{anchor},{positive}\n" for anchor, positive in rows))
    return path


@pytest.fixture
def few_questions(tmp_path):
    """Four questions, with sixteen answers each."""
    return written(tmp_path / "pairs.csv", [(f"question {i % 4}", f"answer {i}") for i in range(64)])


@pytest.fixture
def pairs(tmp_path):
    return written(tmp_path / "pairs.csv", [(f"question {i}", f"answer {i}") for i in range(64)])


def test_more_rows_than_there_are(pairs):
    message = "data 'local' has 64 rows, fewer than data.rows=1024; data.rows=null takes all rows"
    with pytest.raises(UserError, match=message):
        plan(pairs, "data.rows=1024")


def test_a_batch_of_more_rows_than_there_are(pairs):
    with pytest.raises(
        UserError, match=r"trainer\.batch_size=32 is more than the 20 training rows; lower it or raise data\.rows"
    ):
        plan(pairs, "data.rows=20", "trainer.batch_size=32")
    assert plan(pairs, "data.rows=20", "trainer.batch_size=20")


def test_a_batch_of_more_rows_than_different_questions(few_questions):
    message = "column 'anchor' has 4 different texts in 64 training rows, fewer than trainer.batch_size=16, and a batch has no text twice"
    with pytest.raises(UserError, match=message):
        plan(few_questions, "data.rows=null", "trainer.batch_size=16")
    assert plan(few_questions, "data.rows=null", "trainer.batch_size=4")
    assert plan(few_questions, "data.rows=null", "trainer.batch_size=16", "trainer.dataloader_drop_last=false")


def test_an_untrained_model_needs_none(few_questions):
    assert plan(few_questions, "data.rows=null", "trainer.batch_size=16", "study.matrix.method=[untrained]")


def test_a_second_plan_reads_no_file(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "cache_folder", lambda: tmp_path / "qatlab")
    os.utime(pairs, (time.time() - 60,) * 2)
    first = plan(pairs, "data.rows=null", "trainer.batch_size=16")
    monkeypatch.setattr(readers, "read_columns", None)
    assert plan(pairs, "data.rows=null", "trainer.batch_size=16").artifacts == first.artifacts


def test_very_large_files_are_left_to_their_jobs(pairs, tmp_path, monkeypatch, capsys):
    """The plan only computes their checksum, and prints a message; a second plan reuses the checksum."""
    monkeypatch.setattr(remembered, "LARGEST_READ", 100)
    monkeypatch.setattr(readers, "read_table", None)  # nothing is parsed
    monkeypatch.setattr(remembered, "cache_folder", lambda: tmp_path / "qatlab")
    os.utime(pairs, (time.time() - 60,) * 2)
    study = plan(pairs, "data.rows=100000")
    size = pairs.stat().st_size
    message = f"{pairs}: {size / 1e9:.1f} GB; the job 'data' reads and checks its rows, and the plan computes only its checksum"
    assert capsys.readouterr().err.count(message) == 1
    (data,) = [artifact for artifact in study.artifacts.values() if artifact.kind == "data"]
    assert data.origin == {"sha256": sha256_of(pairs)}
    plan(pairs, "data.rows=100000")
    assert capsys.readouterr().err == ""
