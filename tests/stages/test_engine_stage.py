"""Stage engine: modes of faiss and USearch beside exact searches of the same codes, measured in processes of their own."""

import json

import numpy as np
import pandas as pd
import pytest

from qatlab.engines.faiss import FaissEngine
from qatlab.errors import UserError
from qatlab.evaluation import engine_process
from qatlab.job import JobDescription
from qatlab.stages import engine, score

DIM, DOCUMENTS, QUERIES = 24, 60, 40


@pytest.fixture
def inputs(tmp_path):
    generator = np.random.default_rng(0)
    documents = (generator.normal(size=(DOCUMENTS, DIM)) * generator.uniform(0.2, 2, DIM) + 0.3).astype(np.float32)
    queries = documents[:QUERIES] + generator.normal(size=(QUERIES, DIM)).astype(np.float32) * 0.7
    encode, task = tmp_path / "encode", tmp_path / "task"
    encode.mkdir()
    task.mkdir()
    np.save(encode / "documents.npy", documents)
    np.save(encode / "queries.npy", queries)
    (encode / "similarity.json").write_text('{"similarity": "cosine"}')
    pd.DataFrame({"id": [f"d{i}" for i in range(DOCUMENTS)]}).to_parquet(task / "documents.parquet")
    pd.DataFrame({"id": [f"q{i}" for i in range(QUERIES)]}).to_parquet(task / "queries.parquet")
    rows = [{"query_id": f"q{i}", "doc_id": f"d{i}", "relevance": 1} for i in range(QUERIES)]
    pd.DataFrame(rows).to_parquet(task / "qrels.parquet")
    (task / "manifest.json").write_text(json.dumps({"kind": "retrieval"}))
    return {"encode": encode, "task": task}


def measured(inputs, output, name, modes, **config):
    output.mkdir()
    chosen = {"metrics": ["ndcg@10", "recall@20"], "engines": [{"engine": name, "modes": modes}], **config}
    engine.run(JobDescription(label="tried", config=chosen), inputs, output, 2)
    return {row["mode"]: row for row in json.loads((output / "engine.json").read_text())["modes"]}


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("name", ["faiss", "usearch"])
def test_exact_modes_rank_as_the_scorer_does(inputs, tmp_path, name, similarity):
    exact = ["float32_exact", "int8_qatlab_exact", "bits_qatlab_exact"]
    rows = measured(inputs, tmp_path / "out", name, exact, similarity=similarity)
    assert {mode: row["same_scores"] for mode, row in rows.items()} == dict.fromkeys(exact, 1.0)
    columns = pd.read_parquet(tmp_path / "out" / "per_query.parquet")
    scored = tmp_path / "scored"
    scored.mkdir()
    config = {
        "metrics": ["ndcg@10", "recall@20"],
        "similarity": similarity,
        "precisions": ["float32", "float32_x_int8", "binary"],
    }
    score.run(JobDescription(label="tried", config=config), inputs, scored, 1)
    ours = pd.read_parquet(scored / "per_query.parquet")
    for reference, output in {
        "float32": "none/float32/dot",
        "float32_x_int8": "none/float32_x_int8/dequantized/corpus",
        "bits": "none/binary/hamming",
    }.items():
        assert (columns[f"exact/{reference}/ndcg@10"] == ours[f"{output}/ndcg@10"]).all(), reference
    for mode, row in rows.items():
        assert row["metrics"]["ndcg@10"]["value"] == columns[f"{mode}/ndcg@10"].mean()
    assert rows["float32_exact"]["metrics"]["overlap@10"]["value"] == 1
    difference = columns["exact/int8/ndcg@10"].mean() - columns["exact/float32_x_int8/ndcg@10"].mean()
    assert abs(difference) < 0.02  # what rounding the weighted queries to int8 costs


def test_costs_are_measured_at_one_and_two_threads(inputs, tmp_path):
    rows = measured(inputs, tmp_path / "out", "usearch", ["float32_exact", "bits_engine_exact"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "engine.json",
        "per_query.parquet",
        "search.json",
    ]
    timings = json.loads((tmp_path / "out" / "search.json").read_text())
    assert [(row["mode"], row["threads"]) for row in timings] == [
        (mode, threads) for mode in ("float32_exact", "bits_engine_exact") for threads in (1, 2)
    ]
    for row in timings:
        assert 0 < row["p50_ms"] <= row["p95_ms"] < 1000
        assert row["queries_per_second"] > 0
        assert row["build_seconds"] > 0
    assert rows["float32_exact"]["disk_bytes"] > rows["bits_engine_exact"]["disk_bytes"] > 0
    assert rows["float32_exact"]["parameters"]["dtype"] == "F32"
    assert rows["bits_engine_exact"]["same_scores"] is None
    assert rows["bits_engine_exact"]["reference"] == "float32"


def test_a_refused_mode_and_a_killed_process_are_one_line(inputs, tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"faiss pq_engine_exact: evaluate\.engines: .* at least 256 documents"
    ) as refused:
        measured(inputs, tmp_path / "out", "faiss", ["pq_engine_exact"])
    assert "\n" not in str(refused.value)

    monkeypatch.setattr(engine_process.subprocess, "run", lambda *_, **__: type("Ended", (), {"returncode": -9}))
    with pytest.raises(UserError, match="faiss float32_exact: its process was ended by SIGKILL"):
        measured(inputs, tmp_path / "killed", "faiss", ["float32_exact"])


def test_memory_of_an_index_is_that_of_its_vectors(tmp_path):
    values = np.random.default_rng(0).normal(size=(60_000, 64)).astype(np.float32)
    np.save(tmp_path / "documents.npy", values)
    np.save(tmp_path / "queries.npy", values[:50])
    mode, size = FaissEngine().all_modes()["float32_exact"], values.nbytes
    vectors = {"stored": str(tmp_path / "documents.npy"), "embeddings": str(tmp_path / "documents.npy")}
    vectors |= {"count": len(values), "dim": 64, "similarity": "dot"}
    common = {"engine": {"engine": "faiss"}, "mode": mode.name, "folder": str(tmp_path / "index")}
    built = engine_process.request("build", {**common, "vectors": vectors, "threads": 1}, tmp_path / "build")
    assert size < built["disk_bytes"] < size * 1.01
    values_of = {"queries": str(tmp_path / "queries.npy"), "floats": None, "k": 5, "threads": [1]}
    searched = engine_process.request("search", {**common, **values_of}, tmp_path / "search")
    if searched["memory_bytes"] is not None:  # without /proc, nothing is measured
        assert size * 0.95 < searched["memory_bytes"] < size * 1.3
        assert size * 0.95 < built["build_peak_bytes"] < size * 4
    assert (np.load(tmp_path / "search" / "ids.npy")[:, 0] == np.arange(50)).all()
