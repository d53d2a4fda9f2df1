"""Translations and texts of the hub, as OPUS-100, WMT24++ and WikiText lay them out, through a server on loopback."""

import json

import pandas as pd
import pytest

from hub_server import COMMIT, Hub, card, serve
from hub_stages import forked_stages
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.plan.artifacts import Artifact, data_origin, task_kind, task_origin
from qatlab.plan.checks import check_hub
from qatlab.plan.plan import Plan
from qatlab.sources.stored import HubDataset
from qatlab.tasks.texts import HubTextTask
from qatlab.tasks.translation import HubParallelTask
from qatlab.tasks.withheld import HubWithheldTask

pytestmark = pytest.mark.slow(30)

OPUS, WMT, WIKI = "Helsinki-NLP/opus-100", "google/wmt24pp", "Salesforce/wikitext"
RECORDS = "someone/records"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp("served") for name in (OPUS, WMT, WIKI, RECORDS)}
    (folders[OPUS] / "en-fr").mkdir()
    pairs = [{"translation": {"en": f"number {i}", "fr": f"numéro {i}"}} for i in range(10)]
    pairs += [{"translation": {"en": "...", "fr": ""}}]
    pd.DataFrame(pairs).to_parquet(folders[OPUS] / "en-fr/train-00000-of-00001.parquet", index=False)
    (folders[OPUS] / "README.md").write_text(card(**{"en-fr": ("train", "en-fr/train-*")}))
    segments = [
        {"lp": "en-fr_FR", "domain": "news", "segment_id": i, "is_bad_source": i in (0, 3), "source": f"s\u2028{i}", "target": f"c {i}"}
        for i in range(12)
    ]  # fmt: skip
    lines = "".join(json.dumps(segment, ensure_ascii=False) + "\n" for segment in segments)
    (folders[WMT] / "en-fr_FR.jsonl").write_text(lines, encoding="utf-8")
    (folders[WMT] / "README.md").write_text(card(**{"en-fr_FR": ("train", "en-fr_FR.jsonl")}))
    (folders[WIKI] / "wikitext-2-raw-v1").mkdir()
    texts = pd.DataFrame({"text": ["", " = Title = \n", "A paragraph.\n", ""], "length": [0, 9, 13, 0]})
    texts.to_parquet(folders[WIKI] / "wikitext-2-raw-v1/test-00000-of-00001.parquet", index=False)
    (folders[WIKI] / "README.md").write_text(card(**{"wikitext-2-raw-v1": ("test", "wikitext-2-raw-v1/test-*")}))
    records = [("what flies?", "a bird", ["a fish", "a stone"]), ("what grows?", "a tree", ["a fish"])]
    columns = ["query", "positive", "negatives"]
    pd.DataFrame(records, columns=columns).to_parquet(folders[RECORDS] / "test-00000-of-00001.parquet", index=False)
    (folders[RECORDS] / "README.md").write_text(card(default=("test", "test-*")))
    with serve(Hub(datasets=folders)) as served:
        yield served


@pytest.fixture(scope="module")
def stages(hub, tmp_path_factory):
    with forked_stages(hub.address, tmp_path_factory.mktemp("home"), "datasets", "pandas") as run:
        yield run


@pytest.fixture
def stage(stages, tmp_path):
    """Runs a stage by its command and returns the process; its output folder is tmp_path/out."""

    def run(kind, config):
        name = {"task": "mine"} if kind == "task" else {}
        config = {**name, **config.model_dump(mode="json")}
        description = JobDescription(kind=kind, name="mine", label="mine", config=config, inputs={}, origin="hub")
        (tmp_path / "mine.json").write_text(description.model_dump_json())
        return stages([kind, "--config", str(tmp_path / "mine.json"), "--output", str(tmp_path / "out")])

    return run


def opus(**more):
    columns = ["translation.en", "translation.fr"]
    return HubDataset(source="hub", name=OPUS, subset="en-fr", columns=columns, **more)


def wmt(**more):
    return HubParallelTask(source="hub_parallel", name=WMT, subset="en-fr_FR", split="train", **more)


def wikitext(**more):
    return HubTextTask(source="hub_texts", name=WIKI, subset="wikitext-2-raw-v1", **more)


def test_columns_of_dictionaries_are_called_by_their_keys(stage, tmp_path):
    result = stage("data", opus(rows=7))
    assert result.returncode == 0, result.stderr
    table = pd.read_parquet(tmp_path / "out/train.parquet")
    assert list(table.columns) == ["en", "fr"]
    assert len(table) == 7
    assert all(row.fr == row.en.replace("number", "numéro") for row in table.itertuples())
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["columns"], manifest["commit"]) == (["en", "fr"], COMMIT)


def test_a_pair_without_a_text_is_left_out(stage, tmp_path):
    assert stage("data", opus()).returncode == 0
    assert len(pd.read_parquet(tmp_path / "out/train.parquet")) == 10


def test_one_column_for_language_modelling(stage, tmp_path):
    config = HubDataset(source="hub", name=WIKI, subset="wikitext-2-raw-v1", split="test", columns=["text"])
    result = stage("data", config)
    assert result.returncode == 0, result.stderr
    assert sorted(pd.read_parquet(tmp_path / "out/train.parquet")["text"]) == [" = Title = \n", "A paragraph.\n"]


def test_translation_without_rows_that_are_marked_as_bad(stage, tmp_path):
    config = wmt(leave_out={"is_bad_source": True})
    result = stage("task", config)
    assert result.returncode == 0, result.stderr
    queries, documents, qrels = (
        pd.read_parquet(tmp_path / f"out/{n}.parquet") for n in ("queries", "documents", "qrels")
    )
    kept = [number for number in range(12) if number not in (0, 3)]
    assert queries["text"].tolist() == [f"s\u2028{number}" for number in kept]
    assert documents["text"].tolist() == [f"c {number}" for number in kept]
    assert queries["id"].tolist() == documents["id"].tolist() == qrels["query_id"].tolist() == qrels["doc_id"].tolist()
    assert qrels["relevance"].tolist() == [1.0] * 10
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["kind"], manifest["commit"]) == (task_kind(config, "hub"), COMMIT)


def test_translation_of_columns_of_dictionaries(stage, tmp_path):
    columns = ["translation.fr", "translation.en"]
    config = HubParallelTask(
        source="hub_parallel", name=OPUS, subset="en-fr", split="train", columns=columns, queries=4
    )
    result = stage("task", config)
    assert result.returncode == 0, result.stderr
    queries, documents = (
        pd.read_parquet(tmp_path / f"out/{n}.parquet")["text"].tolist() for n in ("queries", "documents")
    )
    assert len(queries) == 4
    assert queries == [text.replace("number", "numéro") for text in documents]


def test_held_out_records_with_lists_of_negatives(stage, tmp_path):
    config = HubWithheldTask(source="hub_withheld", name=RECORDS, split="test")
    result = stage("task", config)
    assert result.returncode == 0, result.stderr
    judged, documents = (pd.read_parquet(tmp_path / f"out/{name}.parquet") for name in ("qrels", "documents"))
    texts = documents.set_index("id")["text"]
    assert sorted(texts[judged.loc[judged["relevance"] == 0, "doc_id"]]) == ["a fish", "a fish", "a stone"]
    assert sorted(texts[judged.loc[judged["relevance"] == 1, "doc_id"]]) == ["a bird", "a tree"]
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["kind"], manifest["commit"]) == (task_kind(config, "hub"), COMMIT)


def test_texts_to_predict(stage, tmp_path):
    result = stage("task", wikitext())
    assert result.returncode == 0, result.stderr
    queries, documents = (pd.read_parquet(tmp_path / f"out/{n}.parquet") for n in ("queries", "documents"))
    assert queries["text"].tolist() == [" = Title = \n", "A paragraph.\n"]
    assert queries.equals(documents)
    assert json.loads((tmp_path / "out/manifest.json").read_text())["kind"] == "language_modelling"


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("data", opus().model_copy(update={"columns": ["en"]}),
         f"data set '{OPUS}' has no column 'en'; it has: translation"),
        ("data", opus().model_copy(update={"columns": ["translation.de"]}),
         f"data set '{OPUS}' has no column 'translation.de'; its column 'translation' has: translation.en, translation.fr"),
        ("task", wikitext(column="text.en"), f"task '{WIKI}' has no column 'text.en'; its column 'text' holds no dictionaries"),
        ("task", wikitext(column="length"), f"task '{WIKI}': column 'length' holds values that are not texts, such as '0'"),
        ("task", wmt(leave_out={"bad": True}), f"task '{WMT}' has no column 'bad'; it has: lp, domain, segment_id"),
        ("task", HubWithheldTask(source="hub_withheld", name=RECORDS, query="question"),
         f"task '{RECORDS}', record 1: no 'question'; it has: query, positive, negatives"),
        ("task", wmt(columns=["source", "reference"]), f"task '{WMT}' has no column 'reference'; it has: lp, domain"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(stage, tmp_path, kind, config, message):
    result = stage(kind, config)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_names_are_checked_before_the_first_job(hub, monkeypatch, tmp_path):
    requests = []
    monkeypatch.setattr(
        "qatlab.plan.checks.info", lambda name, revision, repository: requests.append((name, revision, repository))
    )
    configs = [("data", opus()), ("task", wmt(revision="v2")), ("task", wikitext())]
    artifacts = {}
    for kind, config in configs:
        origin = (data_origin if kind == "data" else task_origin)(config)
        artifact = Artifact(kind, config.name, config, {}, config.name, origin)
        artifacts[artifact.path] = artifact
    check_hub(Plan("study", "Study", "baseline", [], artifacts), tmp_path)
    assert requests == [(OPUS, "main", "dataset"), (WMT, "v2", "dataset"), (WIKI, "main", "dataset")]


def test_a_column_is_named_once():
    with pytest.raises(ValueError, match="a column is listed twice: text, text"):
        HubDataset(source="hub", name="a/b", columns=["en.text", "fr.text"])


def test_user_errors_have_one_line():
    from qatlab.hub import _column

    with pytest.raises(UserError) as caught:
        _column(pd.DataFrame({"a": [1]}), "b", "data set 'x'")
    assert str(caught.value) == "data set 'x' has no column 'b'; it has: a"
