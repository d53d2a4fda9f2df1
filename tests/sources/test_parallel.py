"""Parallel text of one's own: two files line by line, or one table; what is wrong with them is one line."""

import gzip
import json

import pandas as pd
import pytest

from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.plan.artifacts import Planner, data_origin, task_kind, task_origin
from qatlab.registry import ParallelTexts
from qatlab.sources import parallel
from qatlab.sources.parallel import Parallel
from qatlab.stages import data, task
from qatlab.tasks.texts import LocalTextTask
from qatlab.tasks.translation import ParallelTask

ENGLISH, FRENCH = ["a\u2028line", "two", "", "three"], ["une\u0085ligne", "deux", " ", "trois"]
PAIRS = [("a\u2028line", "une\u0085ligne"), ("two", "deux"), ("three", "trois")]


def written(path, lines, end="\n"):
    text = "".join(f"{line}{end}" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.fixture
def two_files(tmp_path):
    return [written(tmp_path / "corpus.en", ENGLISH), written(tmp_path / "corpus.fr.gz", FRENCH)]


def load(paths, columns=("source", "target"), **more):
    config = ParallelTexts(paths=[str(path) for path in paths], columns=list(columns), **more)
    return parallel.load(config, "data")


def rows(table):
    return list(table.itertuples(index=False, name=None))


def test_lines_belong_together_and_empty_pairs_are_left_out(two_files):
    table = load(two_files)
    assert list(table.columns) == ["source", "target"]
    assert rows(table) == PAIRS


def test_line_ends_of_other_systems_and_a_last_line_without_one(tmp_path):
    written(tmp_path / "a", ["one", "two"], "\r\n")
    (tmp_path / "b").write_bytes("\ufeffun\ndeux".encode())
    assert rows(load([tmp_path / "a", tmp_path / "b"])) == [
        ("one", "un"),
        ("two", "deux"),
    ]


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.parquet", "pairs.jsonl"])
def test_one_table_with_two_columns(tmp_path, name):
    table = pd.DataFrame(PAIRS, columns=["en", "fr"])
    path = tmp_path / name
    if name.endswith("sv"):
        table.to_csv(path, index=False, sep="\t" if "tsv" in name else ",")
    elif name.endswith("parquet"):
        table.to_parquet(path)
    else:
        written(path, [json.dumps(row, ensure_ascii=False) for row in table.to_dict("records")])
    assert rows(load([path], ["en", "fr"])) == PAIRS
    with pytest.raises(
        UserError, match=r"no column 'source'; the file has: en, fr \(set data\.columns to the columns to use\)"
    ):
        load([path])


def test_what_is_wrong_is_one_line(tmp_path):
    two, three = written(tmp_path / "two", ["a", "b"]), written(tmp_path / "three", ["x", "y", "z"])
    gap, table = written(tmp_path / "gap", ["x", "", ""]), written(tmp_path / "t.csv", ["source,target", "a,b"])
    (tmp_path / "latin").write_bytes("one\nété\n".encode("latin-1"))
    (tmp_path / "broken.gz").write_bytes(b"no gzip")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"one\ntwo\n" * 100)[:-9])
    nothing = written(tmp_path / "nothing", ["", ""])
    for paths, message in [
        ([two, three], r"two has 2 lines and .*three has 3; their lines must correspond one to one"),
        ([three, gap], r"gap, line 2: empty, but .*three has a text there \(2 such lines\)"),
        ([gap, three], r"gap, line 2: empty, but .*three has a text there \(2 such lines\)"),
        ([two, tmp_path / "none"], r"data file '.*none' does not exist"),
        ([tmp_path / "none.csv"], r"data file '.*none\.csv' does not exist"),
        ([two], r"two: one file must be a table \(\.parquet, .*; for plain text, name two files in data\.paths"),
        ([table, two], r"t\.csv: a table holds both sides; name it alone in data\.paths"),
        ([two, tmp_path / "latin"], r"latin, line 2: not UTF-8"),
        ([two, tmp_path / "broken.gz"], r"broken\.gz: cannot be read"),
        ([two, tmp_path / "cut.gz"], r"cut\.gz: cannot be read"),
        ([nothing, nothing], r"no lines with text"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            load(paths)
        assert "\n" not in str(caught.value)


def test_as_training_data(two_files, tmp_path):
    (tmp_path / "out").mkdir()
    config = Parallel(source="parallel", name="mine", paths=[str(path) for path in two_files], columns=["en", "fr"])
    data.run(JobDescription(config=config.model_dump(), origin=data_origin(config)), {}, tmp_path / "out", 1)
    table = pd.read_parquet(tmp_path / "out/train.parquet")
    assert sorted(rows(table)) == sorted(PAIRS)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["rows"], manifest["columns"], manifest["source"]) == (3, ["en", "fr"], "parallel")
    assert len(manifest["origin"]["sha256"]) == 2


def test_as_a_task(two_files, tmp_path):
    (tmp_path / "out").mkdir()
    config = ParallelTask(source="parallel", paths=[str(path) for path in two_files], queries=2)
    task.run(JobDescription(config={"task": "mine", **config.model_dump()}, origin=None), {}, tmp_path / "out", 1)
    tables = {name: pd.read_parquet(tmp_path / f"out/{name}.parquet") for name in ("queries", "documents", "qrels")}
    kept = list(zip(tables["queries"]["text"], tables["documents"]["text"], strict=True))
    assert len(kept) == 2
    assert set(kept) < set(PAIRS)
    ids = tables["queries"]["id"].tolist()
    assert ids == sorted(ids) == tables["documents"]["id"].tolist()
    assert rows(tables["qrels"]) == [(name, name, 1.0) for name in ids]
    assert json.loads((tmp_path / "out/manifest.json").read_text())["kind"] == task_kind(config, None) == "translation"


def test_ids_keep_the_order_of_the_lines(tmp_path):
    (tmp_path / "out").mkdir()
    texts = [f"text {number}" for number in range(120)]
    written(tmp_path / "t.jsonl", [json.dumps({"body": text}) for text in texts])
    config = LocalTextTask(source="local_texts", path=str(tmp_path / "t.jsonl"), column="body")
    task.run(JobDescription(config={"task": "mine", **config.model_dump()}, origin=None), {}, tmp_path / "out", 1)
    for name in ("queries", "documents"):
        assert pd.read_parquet(tmp_path / f"out/{name}.parquet")["text"].tolist() == texts
    assert task_kind(config, None) == "language_modelling"
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["kind"], manifest["rows"]["qrels"]) == ("language_modelling", 120)
    with pytest.raises(
        UserError, match=r"no column 'text'; the file has: body \(set task\.NAME\.column to the columns to use\)"
    ):
        task_origin(config.model_copy(update={"column": "text"}))


def test_the_path_of_a_file_does_not_influence_the_artifact(two_files, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    moved = [
        path.rename(tmp_path / "elsewhere" / path.name) or tmp_path / "elsewhere" / path.name for path in two_files
    ]
    written(tmp_path / "corpus.en", ENGLISH), written(tmp_path / "corpus.fr.gz", FRENCH)
    names = {}
    for where, paths in (("here", two_files), ("elsewhere", moved)):
        (tmp_path / where).mkdir(exist_ok=True)
        config = ParallelTask(source="parallel", paths=[str(path) for path in paths])
        origin = {"sha256": ["the", "same"]}
        names[where] = Planner().add("task", "mine", config, {}, "mine", origin)
    assert names["here"] == names["elsewhere"]
    before = task_origin(ParallelTask(source="parallel", paths=[str(path) for path in moved]))
    written(moved[0], ["another", *ENGLISH[1:]])
    assert task_origin(ParallelTask(source="parallel", paths=[str(path) for path in moved])) != before
