"""Data sets and tasks of the hub, through the hub's and datasets' own clients and a server on loopback that implements its protocol."""

import json
import shutil
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest

from hub_server import COMMIT, OTHER_COMMIT, Hub, card, nano, serve
from hub_stages import forked_stages, variables
from qatlab.job import JobDescription

pytestmark = pytest.mark.slow(40)

NANO = "someone/NanoTest"


def as_new(served, home, datasets):
    """Reset the hub to these data sets without faults, and empty the cache of its client; return the hub."""
    served.datasets, served.main, served.faults, served.requests = datasets, {}, {}, Counter()
    shutil.rmtree(home)
    home.mkdir()
    return served


@pytest.fixture(scope="module")
def served():
    with serve(Hub()) as hub:
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def stages(served, home):
    with forked_stages(served.address, home, "datasets", "pandas") as run:
        yield run


@pytest.fixture
def hub(served, home, tmp_path):
    """Return the hub in its initial state, with an empty cache of its client."""
    pairs = tmp_path / "gooaq"
    (pairs / "pair").mkdir(parents=True)
    rows = [{"question": f"what is {i}?", "answer": f"the number {i}"} for i in range(20)]
    pd.DataFrame(rows).to_parquet(pairs / "pair/train-00000-of-00001.parquet", index=False)
    (pairs / "README.md").write_text(card(pair=("train", "pair/train-*")))
    imdb = tmp_path / "imdb"
    imdb.mkdir()
    reviews = [{"text": f"review {i}\u2028second line", "label": i % 2} for i in range(5)]
    (imdb / "test.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in reviews))
    (imdb / "README.md").write_text(card(plain_text=("test", "test.jsonl")))
    old = nano(tmp_path / "nano_old", ["an apple", "a pear", "a plum", "a fig"])
    new = nano(tmp_path / "nano_new", ["a horse", "a cow", "a hen", "a dog", "a cat"])
    datasets = {"someone/gooaq": pairs, "someone/imdb": imdb, NANO: {COMMIT: old, OTHER_COMMIT: new}}
    return as_new(served, home, datasets)


@pytest.fixture
def stage(hub, home, stages, tmp_path):
    """Runs a stage by its command and returns the process; its output folder is tmp_path/<label>."""

    def run(kind, config, label="out", **environment):
        description = JobDescription(kind=kind, name=label, label=label, config=config, inputs={}, origin="hub")
        (tmp_path / f"{label}.json").write_text(description.model_dump_json())
        words = [kind, "--config", str(tmp_path / f"{label}.json"), "--output", str(tmp_path / label)]
        if not environment:
            return stages(words)
        return subprocess.run(
            [sys.executable, "-m", "qatlab", *words],
            env={**variables(hub.address, home), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def task(**more):
    return {"task": "nano", "source": "hub", "name": NANO, "revision": "main", "split": "train", **more}


def texts_of(folder, name="documents"):
    return pd.read_parquet(folder / f"{name}.parquet")["text"].tolist()


def test_a_nano_task_comes_as_published(stage, tmp_path):
    result = stage("task", task())
    assert result.returncode == 0, result.stderr
    assert texts_of(tmp_path / "out") == ["an apple", "a pear", "a plum", "a fig"]
    qrels = pd.read_parquet(tmp_path / "out/qrels.parquet")
    assert qrels.to_dict("list") == {
        "query_id": ["q0", "q1", "q2"],
        "doc_id": ["d0", "d1", "d2"],
        "relevance": [1, 1, 1],
    }
    assert json.loads((tmp_path / "out/manifest.json").read_text())["commit"] == COMMIT


def test_pairs_and_texts_come_from_their_configurations(stage, tmp_path):
    pairs = {
        "source": "hub", "name": "someone/gooaq", "subset": "pair", "split": "train", "revision": "main",
        "columns": ["question", "answer"], "rows": 8, "shuffle_seed": 0,
    }  # fmt: skip
    result = stage("data", pairs, "pairs")
    assert result.returncode == 0, result.stderr
    table = pd.read_parquet(tmp_path / "pairs/train.parquet")
    assert len(table) == 8
    assert all(row.question.split()[-1][:-1] == row.answer.split()[-1] for row in table.itertuples())
    imdb = {"source": "hub", "name": "someone/imdb", "split": "test", "revision": "main", "column": "text", "rows": 4}
    result = stage("texts", {"texts": "imdb", **imdb}, "imdb")
    assert result.returncode == 0, result.stderr
    assert texts_of(tmp_path / "imdb") == [f"review {i}\u2028second line" for i in range(4)]


def test_a_branch_that_moves_is_read_at_one_commit(hub, stage, tmp_path):
    hub.main[NANO] = OTHER_COMMIT
    assert stage("task", task(), "moved").returncode == 0
    assert len(texts_of(tmp_path / "moved")) == 5
    manifest = json.loads((tmp_path / "moved/manifest.json").read_text())
    assert manifest["commit"] == OTHER_COMMIT
    assert stage("task", task(revision=COMMIT), "pinned").returncode == 0
    assert len(texts_of(tmp_path / "pinned")) == 4


def test_cached_rows_of_another_commit_are_not_used_for_the_requested_one(hub, stage, tmp_path):
    """`load_dataset` would take it, and only warn."""
    assert stage("task", task(), "before").returncode == 0
    hub.main[NANO] = OTHER_COMMIT
    hub.faults[f"/resolve/{OTHER_COMMIT}/"] = [500] * 200
    result = stage("task", task(), "after")
    assert result.returncode != 0
    assert "the hub cannot be reached" in result.stderr
    assert not (tmp_path / "after").exists()


def test_passing_faults_are_waited_out(hub, stage, tmp_path):
    """Busy, broken, slow, and bodies that end too soon, of one file after the other."""
    hub.faults = {
        "/api/datasets": [503, 429, 500],
        "corpus/train": [429, 500, "slow"],
        "queries/train": [503, "cut"],
        "qrels/train": ["cut", "cut", 429],
    }
    result = stage("task", task())
    assert result.returncode == 0, result.stderr
    assert texts_of(tmp_path / "out") == ["an apple", "a pear", "a plum", "a fig"]
    assert not any(hub.faults.values())
    assert "the hub: 429 Too Many Requests" in result.stderr + result.stdout


@pytest.mark.parametrize("fault", [500, "cut"])
def test_a_lasting_fault_is_one_line_and_leaves_nothing(hub, stage, tmp_path, fault):
    hub.faults["corpus/train"] = [fault] * 500
    result = stage("task", task())
    assert result.returncode != 0
    (line,) = [line for line in result.stderr.splitlines() if "the hub cannot be reached" in line]
    assert "task.beir.path=FOLDER" in line
    assert not (tmp_path / "out").exists()
    hub.faults.clear()
    assert stage("task", task()).returncode == 0
    assert len(texts_of(tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (task(name="someone/else"), "the hub has no task 'someone/else'"),
        (task(revision="v9"), "task 'someone/NanoTest' has no revision 'v9' on the hub"),
        (task(name="gated/model"), "task 'gated/model' is gated"),
        (task(split="test"), 'Unknown split "test"'),
    ],
)
def test_a_permanent_error_is_reported_without_retries(hub, stage, config, message):
    result = stage("task", config)
    assert result.returncode != 0
    assert message in result.stderr
    assert "retrying in" not in result.stderr


def test_down_is_one_line_and_offline_on_purpose_reads_the_cache(hub, stage, tmp_path):
    assert stage("task", task(), "cached").returncode == 0
    requests = sum(hub.requests.values())
    assert stage("task", task(), "offline", HF_HUB_OFFLINE="1").returncode == 0
    assert sum(hub.requests.values()) == requests
    assert texts_of(tmp_path / "offline") == texts_of(tmp_path / "cached")
    down = stage("task", task(), "down", HF_ENDPOINT="http://127.0.0.1:9")
    assert down.returncode != 0
    assert "the hub cannot be reached" in down.stderr
    assert "Traceback" not in down.stderr
