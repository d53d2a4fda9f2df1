"""Results of computations on files are cached, and never returned for other files."""

import os
import time

import pytest

from qatlab import remembered as module
from qatlab.errors import UserError
from qatlab.remembered import remembered


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(module, "cache_folder", lambda: folder / "qatlab")
    return folder / "qatlab" / "files"


@pytest.fixture
def file(tmp_path):
    return aged(tmp_path / "a.csv", "one")


def aged(path, text, seconds=60.0):
    path.write_text(text)
    when = time.time() - seconds
    os.utime(path, (when, when))
    return path


class Question:
    """Computation that counts its calls."""

    def __init__(self, answer=7):
        self.calls, self.answer = 0, answer

    def __call__(self):
        self.calls += 1
        return self.answer


def test_a_second_plan_asks_nothing(file):
    question = Question({"rows": [1, "two"]})
    assert [remembered("rows", [file], question) for _ in range(3)] == [{"rows": [1, "two"]}] * 3
    assert question.calls == 1


def test_another_question_is_computed(file):
    question = Question()
    remembered("rows", [file], question)
    remembered("texts", [file], question)
    assert question.calls == 2


@pytest.mark.parametrize(("text", "seconds"), [("two", 50.0), ("longer", 60.0)])
def test_a_changed_file_is_looked_at(file, text, seconds):
    question = Question()
    remembered("rows", [file], question)
    aged(file, text, seconds)
    remembered("rows", [file], question)
    assert question.calls == 2


def test_a_file_of_this_moment_is_looked_at_each_time(tmp_path):
    question = Question()
    (tmp_path / "a.csv").write_text("one")
    for _ in range(2):
        remembered("rows", [tmp_path / "a.csv"], question)
    assert question.calls == 2


def test_all_files_of_a_folder_count(tmp_path):
    folder, question = tmp_path / "task", Question()
    folder.mkdir()
    aged(folder / "corpus.jsonl", "one")
    remembered("BEIR", [folder], question)
    aged(folder / "queries.jsonl", "two")
    remembered("BEIR", [folder], question)
    remembered("BEIR", [folder], question)
    assert question.calls == 2


def test_a_refusal_is_not_remembered(file):
    def refuse():
        raise UserError("no rows")

    for _ in range(2):
        with pytest.raises(UserError):
            remembered("rows", [file], refuse)
    assert remembered("rows", [file], Question(3)) == 3


def test_a_missing_file_is_no_answer_for_one_that_comes(tmp_path):
    question = Question()
    remembered("rows", [tmp_path / "a.csv"], question)
    aged(tmp_path / "a.csv", "one")
    remembered("rows", [tmp_path / "a.csv"], question)
    assert question.calls == 2


def test_other_readers_look_again(file, monkeypatch):
    question = Question()
    remembered("rows", [file], question)
    monkeypatch.setattr(module, "_readers", lambda: "of another version")
    remembered("rows", [file], question)
    assert question.calls == 2


def test_a_home_that_cannot_be_written_to_is_no_error(file, cache):
    cache.parent.parent.mkdir()
    cache.parent.write_text("a file where the folder would be")
    assert remembered("rows", [file], Question(5)) == 5


def test_a_damaged_result_is_computed_again(file, cache):
    remembered("rows", [file], Question(5))
    (kept,) = cache.iterdir()
    kept.write_text("{")
    assert remembered("rows", [file], Question(6)) == 6


def test_the_oldest_answers_go(file, cache, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 2)
    for name in "abc":
        remembered(name, [file], Question())
        for kept in cache.iterdir():
            os.utime(kept, (kept.stat().st_mtime - 10,) * 2)
    assert len(list(cache.iterdir())) == 2
    last = Question()
    remembered("c", [file], last)
    assert last.calls == 0
