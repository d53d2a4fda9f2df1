"""Tasks in BEIR's layout: what may be missing is, and all else is refused with its file and line."""

import json

import pytest

from qatlab.errors import UserError
from qatlab.plan.artifacts import task_origin
from qatlab.tasks.beir import BeirFolder, check, load

CORPUS = [{"_id": "d1", "title": "", "text": "one"}, {"_id": "d2", "text": "two"}]
QUERIES = [{"_id": "q1", "text": "which"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\n"


def written(folder, corpus=CORPUS, queries=QUERIES, qrels=QRELS):
    (folder / "qrels").mkdir(parents=True)
    for name, records in {"corpus": corpus, "queries": queries}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8", newline="")
    return folder


def test_beir_layout(tiny_files):
    documents, queries, qrels = load(tiny_files / "task", "test")
    assert (len(documents), len(queries), len(qrels)) == (40, 40, 40)
    assert qrels["relevance"].eq(1).all()


def test_a_missing_split(tiny_files):
    with pytest.raises(UserError, match=r"has no qrels/dev\.tsv"):
        load(tiny_files / "task", "dev")


def test_titles_may_be_missing_and_ids_may_be_numbers(tmp_path):
    corpus = [
        {"_id": 7, "title": None, "text": "one"},
        {"_id": "d2", "title": "Two", "text": "of them"},
        {"_id": "d3", "title": "Three", "text": None},
        {"_id": "d4", "text": ""},
    ]
    documents, _, _ = load(written(tmp_path, corpus=corpus), "test")
    assert documents.to_numpy().tolist() == [["7", "one"], ["d2", "Two of them"], ["d3", "Three"], ["d4", ""]]


@pytest.mark.parametrize(
    "qrels",
    [
        QRELS,
        "\ufeff" + QRELS,
        "q1\td1\t1\n",
        "\ufeffq1\td1\t1",
        QRELS.replace("\n", "\r\n"),
        QRELS + "\n",
        QRELS.replace("\t1", "\t1.0"),
        QRELS.replace("score", '"score"'),
    ],
)
def test_judgements_have_a_header_or_none(tmp_path, qrels):
    assert load(written(tmp_path, qrels=qrels), "test")[2].to_numpy().tolist() == [["q1", "d1", 1]]


def test_grades_are_integers_and_a_pair_may_be_repeated(tmp_path):
    qrels = "q1\td1\t3\nq1\td2\t-2\nq1\td1\t3\n"
    judgements = load(written(tmp_path, qrels=qrels), "test")[2].to_numpy().tolist()
    assert judgements == [["q1", "d1", 3], ["q1", "d2", -2], ["q1", "d1", 3]]


DOCUMENTS = {
    "no text": ({"_id": "d2", "title": ""}, "no 'text'; it has: _id, title"),
    "null": ({"_id": "d2", "text": None}, "text is null"),
    "a number": ({"_id": "d2", "text": 7}, "text is 7; it must be a text"),
    "a list": ({"_id": "d2", "text": ["x"]}, "text is a list; it must be a text"),
    "an object": ({"_id": "d2", "title": {}, "text": "x"}, "title is an object; it must be a text"),
    "a title that is a number": ({"_id": "d2", "title": 1.5, "text": "x"}, "title is 1.5; it must be a text"),
    "id": ({"id": "d2", "text": "x"}, "no '_id', but 'id': BEIR calls it _id"),
    "no id": ({"text": "x"}, "no '_id'; it has: text"),
    "an id that is null": ({"_id": None, "text": "x"}, "_id is null; it must be a text or an integer"),
    "an id that is empty": ({"_id": "", "text": "x"}, "_id is empty"),
    "an id that is true": ({"_id": True, "text": "x"}, "_id is True"),
    "an id that is 1.5": ({"_id": 1.5, "text": "x"}, "_id is 1.5"),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_an_invalid_document_is_refused_with_its_line(tmp_path, case):
    record, message = DOCUMENTS[case]
    written(tmp_path, corpus=[CORPUS[0], record])
    with pytest.raises(UserError) as refused:
        load(tmp_path, "test")
    assert str(refused.value).startswith(f"{tmp_path / 'corpus.jsonl'}, line 2: {message}")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"_id": "q2", "text": None}, "text is null"),
        ({"_id": "q2", "text": " "}, "text is ' '"),
        ({"_id": "q2", "text": ""}, "text is empty"),
        ({"_id": "q2"}, "no 'text'; it has: _id"),
        ({"_id": "q2", "text": ["x"]}, "text is a list"),
    ],
)
def test_an_invalid_query_is_refused_with_its_line(tmp_path, record, message):
    written(tmp_path, queries=[*QUERIES, record])
    with pytest.raises(UserError) as refused:
        load(tmp_path, "test")
    expected = f"{tmp_path / 'queries.jsonl'}, line 2: {message}; a query must be a text, and not empty"
    assert str(refused.value) == expected


JUDGEMENTS = {
    "q1 0 d1 1\n": "line 1: one column (TREC's format, with query, iteration, document and relevance?); three are needed",
    "q1\t0\td1\t1\n": "line 1: 4 columns (TREC's, with query, iteration, document and relevance?); three are needed",
    "query-id,corpus-id,score\nq1,d1,1\n": "line 1: 1 column; three are needed, query-id, corpus-id and score, separated by tabs",
    "q1\td1\n": "line 1: 2 columns; three are needed",
    "q1\td1\t1\nq1\td2\thigh\n": "line 2: score 'high' is not an integer",
    "q1\td1\t0.5\n": "line 1: score '0.5' is not an integer",
    "q1\td1\t1\nq1\td2\t0.5\n": "line 2: score '0.5' is not an integer",
    "q1\td1\t1\nq1\td2\tinf\n": "line 2: score 'inf' is not an integer",
    "q1\td1\t1\nq1\td2\tnan\n": "line 2: score 'nan' is not an integer",
    "q1\td1\t1\nq2\td2\t1\nq1\td1\t0\n": "line 3: document 'd1' has grade 0 for query 'q1', but 1 in line 1",
}


@pytest.mark.parametrize("qrels", JUDGEMENTS)
def test_an_invalid_judgement_is_refused_with_its_line(tmp_path, qrels):
    written(tmp_path, qrels=qrels)
    with pytest.raises(UserError) as refused:
        load(tmp_path, "test")
    assert str(refused.value).startswith(f"{tmp_path / 'qrels' / 'test.tsv'}, {JUDGEMENTS[qrels]}")


WHOLES = {
    "ids twice": ({"corpus": [*CORPUS, CORPUS[0]]}, "corpus.jsonl: _id 'd1' occurs more than once (1 such ids); ids must be unique"),
    "queries twice": ({"queries": [*QUERIES, *QUERIES]}, "queries.jsonl: _id 'q1' occurs more than once"),
    "an unknown document": (
        {"qrels": QRELS + "q1\td9\t1\n"},
        "qrels/test.tsv: judges document 'd9', which corpus.jsonl does not hold (1 such)",
    ),
    "a blank behind an id": ({"qrels": "q1\td1 \t1\n"}, "qrels/test.tsv: judges document 'd1 ', which corpus.jsonl"),
    "an unknown query": ({"qrels": QRELS + "q9\td1\t1\n"}, "qrels/test.tsv: judges query 'q9', which queries.jsonl"),
    "nothing relevant": ({"qrels": "q1\td1\t0\n"}, "qrels/test.tsv: no query has a relevant document"),
    "no judgements": ({"qrels": ""}, "qrels/test.tsv: no query has a relevant document"),
    "no documents": ({"corpus": []}, "corpus.jsonl: no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLES)
def test_files_that_do_not_belong_together_are_refused(tmp_path, case):
    parts, message = WHOLES[case]
    check(written(tmp_path / "whole"), "test")
    with pytest.raises(UserError) as refused:
        check(written(tmp_path / "broken", **parts), "test")
    assert str(refused.value).startswith(f"{tmp_path / 'broken'}/{message}")


def test_a_plan_looks_at_the_files(tmp_path):
    """Before any job, not in that of the task."""
    folder = written(tmp_path / "broken", qrels=QRELS + "q1\td9\t1\n")
    with pytest.raises(UserError, match="judges document 'd9'"):
        task_origin(BeirFolder(source="local", path=str(folder)))
