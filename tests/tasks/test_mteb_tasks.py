"""Tasks of mteb by name: their metadata, and their texts, which mteb itself loads from a hub on loopback."""

import json

import numpy as np
import pandas as pd
import pytest

from hub_server import OTHER_COMMIT, Hub, card, serve
from hub_stages import forked_stages
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.tasks.mteb import look_up
from test_hub_data import as_new

pytestmark = pytest.mark.slow(40)


def source_of(name, **more):
    return look_up(name, **more)


SCIFACT, STSB, SCIDOCS = (source_of(name) for name in ("NanoSciFactRetrieval", "STSBenchmark", "SciDocsRR"))


def retrieval(folder, split, candidates=False):
    tables = {
        "corpus": pd.DataFrame(
            {
                "_id": ["d1", "d2", "d3"],
                "title": ["Bears", "", "Bees"],
                "text": ["They sleep.", "Cats purr.", "They hum."],
            }
        ),
        "queries": pd.DataFrame({"_id": ["q1", "q2", "q3"], "text": ["what sleeps?", "what hums?", "never judged"]}),
        "qrels": pd.DataFrame(
            {
                "query-id": ["q1", "q2", "q2"],
                "corpus-id": ["d1", "d3", "gone"],
                "score": [1, 2, 1],
            }
        ),
    }
    if candidates:
        tables["top_ranked"] = pd.DataFrame({"query-id": ["q1", "q2"], "corpus-ids": [["d1", "d2"], ["d2", "d3"]]})
    folder.mkdir()
    for name, table in tables.items():
        (folder / name).mkdir()
        table.to_parquet(folder / name / f"{split}-0.parquet", index=False)
    (folder / "README.md").write_text(card(**{name: (split, f"{name}/{split}-*") for name in tables}))
    return folder


@pytest.fixture(scope="module")
def served():
    with serve(Hub()) as hub:
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def stages(served, home):
    with forked_stages(served.address, home, "mteb", "pandas") as run:
        yield run


@pytest.fixture
def hub(served, home, tmp_path):
    """Return the hub in its initial state, with an empty cache of its client."""
    pairs = tmp_path / "stsb"
    pairs.mkdir()
    rows = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "score": i / 2} for i in range(8)]
    (pairs / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (pairs / "README.md").write_text(card(default=(STSB.split, "test.jsonl")))
    datasets = {
        SCIFACT.dataset: {SCIFACT.revision: retrieval(tmp_path / "scifact", SCIFACT.split)},
        SCIDOCS.dataset: {SCIDOCS.revision: retrieval(tmp_path / "scidocs", SCIDOCS.split, candidates=True)},
        STSB.dataset: {STSB.revision: pairs},
    }
    return as_new(served, home, datasets)


@pytest.fixture
def task(hub, stages, tmp_path):
    def run(name, label="out", **more):
        config = {"task": "theirs", "source": "mteb", "name": name, **more}
        description = JobDescription(kind="task", name=label, label=label, config=config, inputs={}, origin={})
        (tmp_path / f"{label}.json").write_text(description.model_dump_json())
        words = ["task", "--config", str(tmp_path / f"{label}.json"), "--output", str(tmp_path / label)]
        return stages(words), tmp_path / label

    return run


def test_metadata_of_a_task():
    assert (SCIFACT.kind, SCIFACT.split, SCIFACT.subset, SCIFACT.main_score) == (
        "retrieval", "train", "default", "ndcg_at_10",
    )  # fmt: skip
    assert (STSB.kind, STSB.main_score) == ("similarity", "cosine_spearman")
    assert SCIDOCS.kind == "reranking"
    assert source_of("ArguAna").ignore_identical_ids


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "SciFakt"}, "mteb has no task 'SciFakt'; did you mean 'SciFact'?"),
        (
            {"name": "Banking77Classification"},
            "is of type Classification .text.; valid types: Retrieval, Reranking, STS",
        ),
        ({"name": "SciFact", "split": "dev"}, "has no split 'dev'; valid: test .task.NAME.split=…"),
        ({"name": "STS22.v2"}, "has several subsets; valid: en, "),
        ({"name": "STS22.v2", "subset": "xx"}, "has no subset 'xx'; valid: en, "),
    ],
)
def test_an_unknown_name_is_one_line(config, message):
    with pytest.raises(UserError, match=message):
        source_of(**config)


def test_a_retrieval_task(task):
    result, folder = task("NanoSciFactRetrieval")
    assert result.returncode == 0, result.stderr
    assert pd.read_parquet(folder / "documents.parquet")["text"].tolist() == [
        "Bears They sleep.",
        "Cats purr.",
        "Bees They hum.",
    ]
    assert pd.read_parquet(folder / "queries.parquet")["id"].tolist() == ["q1", "q2"]
    judged = pd.read_parquet(folder / "qrels.parquet")
    assert [tuple(row) for row in judged.to_numpy()] == [("q1", "d1", 1), ("q2", "d3", 2), ("q2", "gone", 1)]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["mteb"]["revision"] == SCIFACT.revision
    assert manifest["kind"] == "retrieval"


def test_a_similarity_task(task):
    result, folder = task("STSBenchmark")
    assert result.returncode == 0, result.stderr
    sides = [pd.read_parquet(folder / f"{name}.parquet") for name in ("queries", "documents")]
    scores = pd.read_parquet(folder / "qrels.parquet").set_index("query_id")["relevance"]
    assert len(scores) == 8
    for first, second in zip(*(side.itertuples() for side in sides), strict=True):
        assert first.id == second.id
        assert first.text.split()[1] == second.text.split()[1]
        assert scores[first.id] == pytest.approx(float(first.text.split()[1]) / 2)
    assert np.array_equal(sides[0]["id"], sorted(sides[0]["id"]))
    assert json.loads((folder / "manifest.json").read_text())["kind"] == "similarity"


def test_a_reranking_task_has_its_candidates(task):
    result, folder = task("SciDocsRR")
    assert result.returncode == 0, result.stderr
    judged = pd.read_parquet(folder / "qrels.parquet")
    assert [tuple(row) for row in judged.to_numpy()] == [
        ("q1", "d1", 1),
        ("q1", "d2", 0),
        ("q2", "d2", 0),
        ("q2", "d3", 2),
    ]


def test_passing_faults_are_waited_out(hub, task):
    hub.faults = {"/api/datasets": [503, 429], "corpus/train": [429, "slow"], "queries/train": [503, "cut"]}
    result, folder = task("NanoSciFactRetrieval")
    assert result.returncode == 0, result.stderr
    assert not any(hub.faults.values())
    assert len(pd.read_parquet(folder / "documents.parquet")) == 3


@pytest.mark.parametrize("fault", [429, 500, "cut"])
def test_a_lasting_fault_is_one_line_and_leaves_nothing(hub, task, fault):
    hub.faults["corpus"] = [fault] * 500
    result, folder = task("NanoSciFactRetrieval")
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if "the hub cannot be reached" in line]
    assert f"task '{SCIFACT.dataset}'" in line
    assert not folder.exists()
    hub.faults.clear()
    assert task("NanoSciFactRetrieval")[0].returncode == 0


def test_a_missing_data_set_is_reported_without_retries(hub, task):
    for available, message in (
        ({}, f"the hub has no task '{SCIFACT.dataset}'"),
        ({SCIFACT.dataset: {OTHER_COMMIT: "unread"}}, f"has no revision '{SCIFACT.revision}'"),
    ):
        hub.datasets = available
        result, folder = task("NanoSciFactRetrieval")
        assert result.returncode == 2
        assert message in result.stderr
        assert "; retrying in" not in result.stderr + result.stdout
        assert not folder.exists()
