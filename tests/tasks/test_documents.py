"""Documents of a user's own: what may be missing, how queries are drawn, and what is refused."""

import json

import pandas as pd
import pytest

from qatlab.errors import UserError
from qatlab.evaluation.task import load_task
from qatlab.job import JobDescription
from qatlab.plan.artifacts import task_kind, task_origin
from qatlab.stages import task as stage
from qatlab.tasks.task import TASKS

CORPUS = [{"_id": f"d{at}", "title": "Title" if at else "", "text": f"text {at}"} for at in range(20)]
QUERIES = [{"_id": f"q{at}", "text": f"which {at}"} for at in range(3)]
QRELS = "query-id\tcorpus-id\tscore\nq0\td1\t1\nq1\td2\t2\n"


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def configured(tmp_path):
    """Return a function that writes the given files and returns the configuration of the task."""

    def make(corpus=CORPUS, queries=None, qrels=None):
        paths = {"corpus": tmp_path / "corpus.jsonl"}
        paths["corpus"].write_text(lines(corpus))
        if queries is not None:
            paths["queries"] = tmp_path / "queries.jsonl"
            paths["queries"].write_text(lines(queries))
        if qrels is not None:
            paths["qrels"] = tmp_path / "qrels.tsv"
            paths["qrels"].write_text(qrels)
        return TASKS.read({"source": "documents", "paths": {key: str(path) for key, path in paths.items()}})

    return make


def written(config, output):
    output.mkdir()
    values = {"task": "mine", **config.model_dump(mode="json")}
    stage.run(JobDescription(config=values, origin=config.origin()), {}, output, 1)
    return load_task(output), json.loads((output / "manifest.json").read_text())


def test_queries_are_drawn_with_a_seed_and_leave_their_own_document_out(configured, tmp_path):
    drawn = configured().model_copy(update={"queries": 5, "shuffle_seed": 3})
    assert task_kind(drawn, task_origin(drawn)) == "agreement"
    task, manifest = written(drawn, tmp_path / "out")
    again, _ = written(drawn, tmp_path / "again")
    other, _ = written(drawn.model_copy(update={"shuffle_seed": 4}), tmp_path / "other")
    assert (task.kind, task.ignore_identical_ids, task.judgements) == ("agreement", True, {})
    assert len(task.query_ids) == 5
    assert set(task.query_ids) < set(task.document_ids)
    assert again.query_ids == task.query_ids != other.query_ids
    assert manifest["drawn_queries"] == {"documents": 5, "seed": 3}
    documents, queries = (pd.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in ("documents", "queries"))
    assert queries["text"].tolist() == documents.set_index("id").loc[queries["id"], "text"].tolist()
    assert documents["text"].tolist()[1] == "Title text 1"


def test_given_queries_without_judgements_are_all_kept(configured, tmp_path):
    task, manifest = written(configured(queries=QUERIES), tmp_path / "out")
    assert (task.kind, task.query_ids, task.ignore_identical_ids) == ("agreement", ["q0", "q1", "q2"], False)
    assert "drawn_queries" not in manifest
    assert manifest["queries_without_judgement"] == 0


def test_judgements_make_it_a_retrieval_task(configured, tmp_path):
    config = configured(corpus=CORPUS[:4], queries=QUERIES, qrels=QRELS)  # fewer documents than agreement needs
    assert task_kind(config, task_origin(config)) == "retrieval"
    task, _ = written(config, tmp_path / "out")
    assert task.judgements == {"q0": {"d1": 1}, "q1": {"d2": 2}}


def test_records_without_ids_are_numbered_by_line(configured, tmp_path):
    task, _ = written(configured(corpus=[{"text": f"text {at}"} for at in range(20)]), tmp_path / "out")
    assert sorted(task.document_ids, key=int) == [str(number) for number in range(1, 21)]


def test_the_fingerprint_depends_on_every_file_and_not_on_paths(configured, tmp_path):
    first = task_origin(configured(queries=QUERIES))
    assert first["files"] == ["corpus", "queries"]
    assert task_origin(configured(queries=QUERIES, corpus=CORPUS[:15])) != first
    assert task_origin(configured(queries=QUERIES[:2])) != first
    assert task_origin(configured()) != first


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"corpus": []}, "corpus.jsonl: no rows"),
        ({"corpus": CORPUS[:11]}, "11 documents; the agreement of the 10 best results needs at least 12"),
        ({"corpus": [*CORPUS, {"text": "without"}]}, "line 21: no '_id'; it has: text"),
        ({"corpus": [*CORPUS, CORPUS[0]]}, "_id 'd0' occurs more than once"),
        ({"corpus": [{"_id": "a", "title": 3}]}, "line 1: title is 3; it must be a text"),
        ({"queries": []}, "queries.jsonl: no rows"),
        ({"queries": [{"_id": "q0", "text": " "}]}, "a query must be a text, and not empty"),
        ({"queries": QUERIES, "qrels": QRELS + "q9\td1\t1\n"}, "judges query 'q9', which queries.jsonl does not hold"),
        ({"queries": QUERIES, "qrels": QRELS + "q1\tx\t1\n"}, "judges document 'x', which corpus.jsonl does not hold"),
        ({"queries": QUERIES, "qrels": "q0\td1\t0\n"}, "no query has a relevant document"),
    ],
)
def test_mistakes_are_refused_before_any_job(configured, files, message):
    with pytest.raises(UserError, match=message):
        task_origin(configured(**files))


def test_a_missing_file_and_judgements_without_queries_are_refused(configured, tmp_path):
    config = configured()
    (tmp_path / "corpus.jsonl").unlink()
    with pytest.raises(UserError, match=r"task file '.*corpus.jsonl' does not exist"):
        task_origin(config)
    with pytest.raises(ValueError, match="qrels judge documents for queries; give the file of the queries too"):
        configured(qrels=QRELS)
