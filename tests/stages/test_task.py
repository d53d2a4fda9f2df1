"""task: a folder in BEIR's layout as Parquet, and what is wrong with one in one line."""

import json

import pandas as pd
import pytest

from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.stages import task

CORPUS = [
    {"_id": "d1", "title": "A title", "text": "a first text\u2028and its second line"},
    {"_id": "d2", "title": "", "text": "a second"},
    {"_id": "d3", "text": "a third, of no title"},
]
QUERIES = [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}, {"_id": "q3", "text": "never judged"}]
QRELS = [("q1", "d1", 2), ("q1", "d2", 1), ("q2", "d3", 1), ("q2", "d1", 0)]
HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def convert(tmp_path):
    def run(corpus=CORPUS, queries=QUERIES, qrels=QRELS, header=HEADER, **config):
        folder, output = tmp_path / "beir", tmp_path / "out"
        (folder / "qrels").mkdir(parents=True)
        output.mkdir()
        for name, rows in (("corpus", corpus), ("queries", queries)):
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        lines = header + "".join("\t".join(map(str, row)) + "\n" for row in qrels)
        (folder / "qrels/test.tsv").write_text(lines)
        config = {"task": "mine", "source": "local", "path": str(folder), **config}
        task.run(JobDescription(config=config, origin=None), {}, output, 1)
        return output

    return run


@pytest.mark.parametrize("header", [HEADER, ""])
def test_titles_grades_and_strange_line_ends(convert, header, capsys):
    output = convert(header=header)
    assert "task mine: 1 of 3 queries have no relevant document, and are left out" in "".join(capsys.readouterr())
    documents = pd.read_parquet(output / "documents.parquet")
    assert documents["text"].tolist() == [
        "A title a first text\u2028and its second line",
        "a second",
        "a third, of no title",
    ]
    qrels = pd.read_parquet(output / "qrels.parquet")
    assert list(qrels.itertuples(index=False, name=None)) == sorted(QRELS)
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["queries_without_judgement"] == 1
    assert manifest["rows"] == {"documents": 3, "queries": 2, "qrels": 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": []}, "task 'mine' has 0 documents and 3 queries; it needs some of both"),
        (
            {"corpus": [*CORPUS, CORPUS[0]]},
            "task 'mine': 1 document ids occur twice, such as 'd1'; ids must be unique",
        ),
        ({"queries": [*QUERIES, QUERIES[1]]}, "task 'mine': 1 query ids occur twice, such as 'q2'"),
        (
            {"qrels": [*QRELS, ("q1", "d9", 1)]},
            "judgements name document 'd9', which is missing from the corpus .1 such",
        ),
        ({"qrels": [*QRELS, ("q9", "d1", 1)]}, "judgements name query 'q9', which is not a query .1 such"),
        ({"qrels": [("q1", "d1", 0)]}, "task 'mine' has no query with a relevant document"),
        (
            {"qrels": [("q1", 0, "d1", 1)], "header": ""},
            r"line 1: 4 columns .TREC's, .*three are needed, query-id, corpus-id and score, separated by tabs",
        ),
        ({"qrels": [("q1", "d1", 1), ("q2", "d2", "yes")]}, "score 'yes' is not an integer"),
        ({"qrels": [("q1", "d1", 1), ("q2", "d2", 0.5)]}, "score '0.5' is not an integer"),
    ],
)
def test_what_is_wrong_is_one_line(convert, change, message):
    with pytest.raises(UserError, match=message):
        convert(**change)
