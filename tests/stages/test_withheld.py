"""Held-out records and scored pairs as tasks, with negatives mined by BM25 and by a model."""

import json

import pandas as pd
import pytest

from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.sources.packages import extract
from qatlab.stages import task
from qatlab.tasks.task import MiningConfig
from qatlab.tasks.withheld import DocstringWithheldTask, Record, mine

RECORDS = [
    {"query": "what is a bear?", "positive": "a large animal", "negatives": ["a small bird", "a stone"]},
    {"query": "what is a bee?", "positive": ["an insect", "a pollinator"], "negatives": "a stone"},
    {"query": "what is snow?", "positive": "frozen\u2028water", "negatives": ["frozen\u2028water", "a small bird"]},
]


@pytest.fixture
def convert(tmp_path):
    def run(records, model=None, name="out", **config):
        path, output = tmp_path / "records.jsonl", tmp_path / name
        output.mkdir()
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
        config = {"task": "mine", "source": "withheld", "path": str(path), **config}
        task.run(JobDescription(config=config, origin=None), {"model": model} if model else {}, output, 1)
        return output

    return run


def candidates(folder):
    """Return the judgement of each text by query: 1 or 0."""
    texts, query_texts = (
        pd.read_parquet(folder / f"{name}.parquet").set_index("id")["text"] for name in ("documents", "queries")
    )
    judged = pd.read_parquet(folder / "qrels.parquet")
    return {
        query_texts[query]: {texts[row.doc_id]: row.relevance for row in rows.itertuples()}
        for query, rows in judged.groupby("query_id")
    }


def test_records_with_negatives_of_their_own(convert):
    output = convert(RECORDS)
    assert candidates(output) == {
        "what is a bear?": {"a large animal": 1, "a small bird": 0, "a stone": 0},
        "what is a bee?": {"an insect": 1, "a pollinator": 1, "a stone": 0},
        "what is snow?": {"frozen\u2028water": 1, "a small bird": 0},
    }
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["kind"], manifest["records_with_mined_negatives"]) == ("reranking", 0)


def test_texts_of_omitted_queries_are_omitted(convert):
    output = convert(RECORDS, queries=1, shuffle_seed=3)
    ((_, judged),) = candidates(output).items()
    assert len(pd.read_parquet(output / "documents.parquet")) == len(judged)


@pytest.mark.parametrize(
    ("records", "config", "message"),
    [
        ([], {}, "no records"),
        (
            [{"query": "a", "positive": "b"}],
            {},
            "1 of 1 records have no 'negatives'; add them, or have them mined .task.mine.",
        ),
        ([{"question": "a", "positive": "b"}], {}, "line 1: no 'query'; it has: question, positive"),
        ([{"query": "a", "positive": ""}], {}, "line 1: queries, positives and negatives must be texts"),
        ([{"query": "a", "positive": "b", "negatives": [3]}], {}, "line 1: queries, positives and negatives must be"),
        ([{"query": "a", "positive": "b"}], {"mined": {"bm25": 3}}, "1 are too few for 3 beside 1 positives"),
    ],
)
def test_invalid_records_are_one_line(convert, records, config, message):
    with pytest.raises(UserError, match=message):
        convert(records, **config)


WORDS = ["red apple pie", "green apple tart", "red brick wall", "blue sea shore", "green sea turtle"]


def test_negatives_by_bm25_share_words_with_the_query():
    records = [Record(f"{text.split()[0]} {text.split()[1]}", [text], []) for text in WORDS]
    mined = mine(records, MiningConfig(bm25=2), None)
    assert set(mined[0].negatives) == {"green apple tart", "red brick wall"}
    assert set(mined[4].negatives) == {"green apple tart", "blue sea shore"}
    kept = Record("red apple", ["red apple pie"], ["blue sea shore"])
    assert mine([kept, *records], MiningConfig(bm25=2), None)[0] == kept


def test_positives_of_the_same_query_are_never_negatives():
    records = [Record("apple", [text], []) for text in WORDS[:2]] + [Record("sea", [text], []) for text in WORDS[3:]]
    for record in mine(records, MiningConfig(bm25=2), None):
        assert not any(record.query in text for text in record.negatives)


def test_negatives_by_a_model_are_the_most_similar_texts(convert, tiny_model, pairs):
    records = [{"query": summary, "positive": code} for summary, code in pairs[:30]]
    output = convert(records, model=tiny_model.parent, mined={"bm25": 2, "model": 3})
    judged_texts = candidates(output)
    assert {sum(grade == 0 for grade in judged.values()) for judged in judged_texts.values()} == {5}
    assert json.loads((output / "manifest.json").read_text())["records_with_mined_negatives"] == 30
    assert (
        candidates(convert(records, model=tiny_model.parent, name="again", mined={"bm25": 2, "model": 3}))
        == judged_texts
    )


def test_functions_of_a_package_as_records(tmp_path):
    config = {
        "task": "mine",
        "source": "docstring_withheld",
        "package": "sacrebleu",
        "mined": {"bm25": 3},
        "queries": 20,
    }
    task.run(JobDescription(config=config, origin=None), {}, tmp_path, 1)
    judged_texts = candidates(tmp_path)
    assert len(judged_texts) == 20
    functions = {pair.summary: pair.code for pair in extract("sacrebleu")}
    for query, judged in judged_texts.items():
        assert [text for text, grade in judged.items() if grade] == [functions[query]]
        assert sum(grade == 0 for grade in judged.values()) == 3
    assert json.loads((tmp_path / "manifest.json").read_text())["kind"] == "reranking"


def test_functions_need_mined_negatives():
    with pytest.raises(ValueError, match=r"functions have no negatives; set mined\.bm25 or mined\.model above 0"):
        DocstringWithheldTask(source="docstring_withheld", package="sacrebleu", mined={})


def test_scored_pairs(tmp_path):
    rows = [(f"first {i}", f"second {i}", score) for i, score in enumerate([0, 2.5, 5, 0])]
    pd.DataFrame(rows, columns=["a", "b", "gold"]).to_csv(tmp_path / "pairs.csv", index=False)
    config = {"task": "sts", "source": "pairs", "path": str(tmp_path / "pairs.csv"), "columns": ["a", "b", "gold"]}
    (tmp_path / "out").mkdir()
    task.run(JobDescription(config=config, origin=None), {}, tmp_path / "out", 1)
    assert pd.read_parquet(tmp_path / "out/qrels.parquet")["relevance"].tolist() == [0, 2.5, 5, 0]
    assert json.loads((tmp_path / "out/manifest.json").read_text())["rows"] == {
        "documents": 4,
        "queries": 4,
        "qrels": 4,
    }
    for change, message in (
        ({"columns": ["a", "b", "c"]}, "no column 'c'"),
        ({"columns": ["a", "b", "a"]}, "which is not a number"),
    ):
        with pytest.raises(UserError, match=message):
            task.run(JobDescription(config={**config, **change}, origin=None), {}, tmp_path / "out", 1)
