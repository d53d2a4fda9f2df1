"""Stage engine: modes of faiss and USearch beside exact searches of the same codes, measured in processes of their own."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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


def test_a_refused_mode_is_one_line(inputs, tmp_path):
    with pytest.raises(
        UserError, match=r"faiss pq_engine_exact: evaluate\.engines: .* at least 256 documents"
    ) as refused:
        measured(inputs, tmp_path / "out", "faiss", ["pq_engine_exact"])
    assert "\n" not in str(refused.value)


def build(folder, values, mode="float32_exact", engine="faiss"):
    file = folder / "documents.npy"
    np.save(file, values)
    vectors = {"stored": str(file), "embeddings": str(file), "count": len(values), "dim": 64, "similarity": "dot"}
    common = {"engine": {"engine": engine}, "mode": mode, "folder": str(folder / "index")}
    return common, {**common, "vectors": vectors, "threads": 1}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the process is found by /proc")
def test_a_build_that_is_killed_leaves_no_index_and_can_be_repeated(tmp_path):
    values = np.random.default_rng(0).normal(size=(60_000, 64)).astype(np.float32)
    _, request = build(tmp_path, values, "float32_hnsw", "usearch")
    before = set(engine_process.descendants())
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(engine_process.request, "build", request, tmp_path / "build")
        while not (tmp_path / ".index.partial").exists():
            assert not ended.done()
            time.sleep(0.01)
        (process,) = set(engine_process.descendants()) - before
        os.kill(process, signal.SIGKILL)
        with pytest.raises(UserError, match=r"usearch float32_hnsw: its process was ended by SIGKILL"):
            ended.result()
    assert not (tmp_path / "index").exists()
    _, request = build(tmp_path, values[:100], "float32_hnsw", "usearch")
    assert engine_process.request("build", request, tmp_path / "again")["build_seconds"] > 0
    assert (tmp_path / "index" / "index.json").is_file()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by /proc")
def test_memory_of_an_index_is_that_of_its_vectors(tmp_path):
    values = np.random.default_rng(0).normal(size=(60_000, 64)).astype(np.float32)
    np.save(tmp_path / "queries.npy", values[:50])
    common, request = build(tmp_path, values)
    size, built = values.nbytes, engine_process.request("build", request, tmp_path / "build")
    assert size < built["disk_bytes"] < size * 1.01
    values_of = {"queries": str(tmp_path / "queries.npy"), "floats": None, "k": 5, "threads": [1]}
    searched = engine_process.request("search", {**common, **values_of}, tmp_path / "search")
    assert size * 0.95 < searched["memory_bytes"] < size * 1.3
    assert size * 0.95 < built["build_peak_bytes"] < size * 4
    assert (np.load(tmp_path / "search" / "ids.npy")[:, 0] == np.arange(50)).all()
