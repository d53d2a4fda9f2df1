"""Milvus Lite ranks documents as NumPy does in its exact mode, keeps most of the top 10 in the others, and its faults are one line."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from qatlab.engines import milvus
from qatlab.engines.engine import ENGINES, FILES, Mode, open_index, write_index
from qatlab.engines.milvus import MilvusEngine
from qatlab.errors import UserError

pytest.importorskip("milvus_lite")

COUNT, DIM, K = 1000, 64, 10
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(10, DIM))
SCALES = np.exp(RNG.normal(size=DIM))  # ranges differ between dimensions, as they do in embeddings
DOCUMENTS = ((CENTRES[RNG.integers(0, 10, COUNT)] + RNG.normal(size=(COUNT, DIM))) * SCALES).astype(np.float32)
DOCUMENTS /= np.linalg.norm(DOCUMENTS, axis=1, keepdims=True)
QUERIES = (DOCUMENTS[:30] + RNG.normal(size=(30, DIM)) * 0.02).astype(np.float32)
PRODUCTS = QUERIES.astype(np.float64) @ DOCUMENTS.astype(np.float64).T
BEST = np.argsort(-PRODUCTS, axis=1)[:, :K]
FLOATS = Mode("float32")


def vectors(received, similarity="dot"):
    return SimpleNamespace(
        count=len(received),
        dim=received.shape[1],
        similarity=similarity,
        blocks=lambda: iter((received[:300], received[300:])),
        floats=lambda: iter((received,)),
    )


def searched(mode, documents, queries, folder, engine=None):
    engine = engine or MilvusEngine()
    write_index(engine, mode, documents, folder / "index", 1)
    with open_index(engine, mode, folder / "index", 1) as opened:
        return np.array([opened.search(query, K) for query in queries])


def ranks_as(results, scores, atol=1e-6):
    """Return whether documents of each result have the scores of the best documents, best first, which ties cannot change."""
    best = -np.sort(-scores, axis=1)[:, : results.shape[1]]
    distinct = all(len(set(row)) == len(row) for row in results.tolist())
    return distinct and np.allclose(np.take_along_axis(scores, results, axis=1), best, rtol=0, atol=atol)


def overlap(results, best=BEST):
    return np.mean([len(set(a) & set(b)) / K for a, b in zip(results.tolist(), best.tolist(), strict=True)])


def on_grid(values):
    """Round documents to 256 levels on one range per dimension, as faiss does: to the middle of a level."""
    low, high = DOCUMENTS.min(axis=0), DOCUMENTS.max(axis=0)
    codes = np.clip(np.floor((values - low) / (high - low) * 255), 0, 255)
    return low + (codes + 0.5) / 255 * (high - low)


def test_the_engine_is_registered_and_installed():
    assert ENGINES.get("milvus") is MilvusEngine
    assert MilvusEngine().problem() is None
    assert [mode.name for mode in MilvusEngine().chosen_modes()] == list(MilvusEngine.DEFAULTS)


def test_exact_search_of_floats_ranks_as_inner_products(tmp_path):
    documents = DOCUMENTS * np.linspace(0.5, 2, COUNT, dtype=np.float32)[:, None]
    results = searched(FLOATS, vectors(documents), QUERIES, tmp_path)
    assert results.dtype == np.int64
    assert ranks_as(results, QUERIES @ documents.T)


def test_exact_search_by_cosine_does_not_depend_on_lengths(tmp_path):
    documents = DOCUMENTS * np.linspace(0.5, 2, COUNT, dtype=np.float32)[:, None]
    assert ranks_as(searched(FLOATS, vectors(documents, "cosine"), QUERIES, tmp_path), PRODUCTS)


def test_one_list_of_int8_codes_is_exhaustive_search_on_a_grid_with_one_range_per_dimension(tmp_path):
    results = searched(Mode("int8", "engine"), vectors(DOCUMENTS), QUERIES, tmp_path)
    assert ranks_as(results, QUERIES @ on_grid(DOCUMENTS).T, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("float32_hnsw", 0.98),
        ("float32_ivf", 0.9),
        ("int8_engine_exact", 0.95),
        ("int8_engine_hnsw", 0.95),
        ("int8_engine_ivf", 0.9),
    ],
)
def test_graphs_lists_and_quantizers_keep_most_of_the_top_10(tmp_path, name, least):
    results = searched(MilvusEngine.all_modes()[name], vectors(DOCUMENTS), QUERIES, tmp_path)
    assert overlap(results) >= least


def test_a_wider_search_finds_more_of_the_best_documents(tmp_path):
    mode, graph = Mode("float32", index="hnsw"), {"m": 4, "ef_construction": 10}
    narrow, wide = (
        searched(mode, vectors(DOCUMENTS), QUERIES, tmp_path, MilvusEngine(**graph, ef=ef)) for ef in (10, 500)
    )
    assert overlap(wide) > overlap(narrow)


def test_lists_that_are_all_visited_find_what_exact_search_finds(tmp_path):
    engine = MilvusEngine(nlist=16, nprobe=16)
    assert ranks_as(searched(Mode("float32", index="ivf"), vectors(DOCUMENTS), QUERIES, tmp_path, engine), PRODUCTS)


@pytest.mark.parametrize("name", list(MilvusEngine.all_modes()))
def test_two_builds_give_the_same_results(tmp_path, name):
    mode = MilvusEngine.all_modes()[name]
    first, second = (searched(mode, vectors(DOCUMENTS), QUERIES, tmp_path) for _ in range(2))
    assert MilvusEngine().reproducible(mode)
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("float32_exact", {"index_type": "FLAT", "metric_type": "IP"}),
        ("float32_hnsw", {"index_type": "HNSW", "M": 16, "efConstruction": 200, "ef": 128}),
        ("float32_ivf", {"index_type": "IVF_FLAT", "nlist": COUNT // 39, "nprobe": 16}),
        ("int8_engine_exact", {"index_type": "IVF_SQ8", "nlist": 1}),
        ("int8_engine_hnsw", {"index_type": "HNSW_SQ", "M": 16}),
        ("int8_engine_ivf", {"index_type": "IVF_SQ8", "nlist": COUNT // 39}),
    ],
)
def test_the_engine_reports_its_settings(tmp_path, name, reported):
    mode = MilvusEngine.all_modes()[name]
    write_index(MilvusEngine(), mode, vectors(DOCUMENTS), tmp_path / "index", 1)
    with open_index(MilvusEngine(), mode, tmp_path / "index", 1) as opened:
        parameters = opened.parameters()
    assert parameters.items() >= reported.items()
    assert parameters.items() >= {"documents": COUNT, "dim": DIM, "vectors": "FLOAT_VECTOR"}.items()


def test_collections_hold_neither_int8_nor_binary_vectors():
    """If this changes, codes of qatlab can be stored."""
    from milvus_lite import DataType

    assert {kind.name for kind in DataType if "VECTOR" in kind.name} == {"FLOAT_VECTOR", "SPARSE_FLOAT_VECTOR"}


def test_two_threads_search_one_index(tmp_path):
    write_index(MilvusEngine(), FLOATS, vectors(DOCUMENTS), tmp_path / "index", 1)
    with open_index(MilvusEngine(), FLOATS, tmp_path / "index", 2) as opened, ThreadPoolExecutor(2) as pool:
        assert ranks_as(np.array(list(pool.map(lambda query: opened.search(query, K), QUERIES))), PRODUCTS)


OPEN = """
import os, socket, sys
from pathlib import Path
import numpy as np

def refuse(self, *address):
    raise AssertionError("a port is opened")

socket.socket.bind = refuse
from qatlab.engines.engine import Mode, open_index
from qatlab.engines.milvus import MilvusEngine
from qatlab.errors import UserError
try:
    with open_index(MilvusEngine(), Mode("float32"), Path(sys.argv[1]), 1) as opened:
        print(*opened.search(np.load(sys.argv[2]), 10))
except UserError as error:
    print(error)
print(sorted({"pymilvus", "grpc", "dotenv"} & set(sys.modules)), os.environ.get("MILVUS_URI"), file=sys.stderr)
"""


def opened_elsewhere(tmp_path, folder):
    np.save(tmp_path / "query.npy", QUERIES[0])
    command = [sys.executable, "-c", OPEN, folder, tmp_path / "query.npy"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)


def test_another_process_opens_the_index_after_it_moved_without_a_port_and_without_reading_the_file_env(tmp_path):
    (tmp_path / ".env").write_text("MILVUS_URI=http://stolen.example\n")
    write_index(MilvusEngine(), FLOATS, vectors(DOCUMENTS), tmp_path / "first", 1)
    (tmp_path / "first").rename(tmp_path / "index")
    ended = opened_elsewhere(tmp_path, tmp_path / "index")
    assert ended.stdout.split() == [str(number) for number in BEST[0]]
    assert ended.stderr.splitlines() == ["[] None"]


def test_a_folder_that_another_process_has_opened_is_refused_in_one_line(tmp_path):
    write_index(MilvusEngine(), FLOATS, vectors(DOCUMENTS), tmp_path / "index", 1)
    with open_index(MilvusEngine(), FLOATS, tmp_path / "index", 1) as opened:
        ended = opened_elsewhere(tmp_path, tmp_path / "index")
        assert len(opened.search(QUERIES[0], K)) == K
    assert "is open in another process; end that process" in ended.stdout
    assert ended.stdout.count("\n") == 1
    assert opened_elsewhere(tmp_path, tmp_path / "index").stdout.split() == [str(number) for number in BEST[0]]


def refused(folder, message, mode=FLOATS):
    with pytest.raises(UserError, match=message) as error, open_index(MilvusEngine(), mode, folder, 1):
        pass
    assert "\n" not in str(error.value)


KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from qatlab.engines.engine import Mode, write_index
from qatlab.engines.milvus import MilvusEngine

def blocks():
    yield np.ones((300, 64), np.float32)
    os.kill(os.getpid(), signal.SIGKILL)

vectors = SimpleNamespace(count=600, dim=64, similarity="dot", blocks=blocks, floats=None)
write_index(MilvusEngine(), Mode("float32"), vectors, Path(sys.argv[1]), 1)
"""


def test_a_build_that_is_killed_leaves_no_index_and_does_not_disturb_the_next_build(tmp_path):
    ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "index"], env=os.environ)
    assert ended.returncode == -signal.SIGKILL
    refused(tmp_path / "index", "no complete index")
    assert ranks_as(searched(FLOATS, vectors(DOCUMENTS), QUERIES, tmp_path), PRODUCTS)


def test_an_index_of_another_version_is_refused_in_one_line(tmp_path, monkeypatch):
    write_index(MilvusEngine(), FLOATS, vectors(DOCUMENTS), tmp_path / "index", 1)
    monkeypatch.setattr(milvus, "version", lambda package: "2.5.1")
    refused(tmp_path / "index", r"version is [\d.]+, but 2\.5\.1 is to be opened")


@pytest.mark.parametrize("damage", ["no collection", "broken manifest", "short index", "short documents"])
def test_a_damaged_index_is_refused_in_one_line_and_unlocked(tmp_path, damage):
    mode = Mode("float32", index="hnsw")
    write_index(MilvusEngine(), mode, vectors(DOCUMENTS), tmp_path / "index", 1)
    collections = tmp_path / "index" / FILES / "collections"
    if damage == "no collection":
        collections.rename(tmp_path / "elsewhere")
    elif damage == "broken manifest":
        for path in collections.rglob("manifest.json*"):
            path.write_text("{")
    else:
        for path in collections.rglob("*.idx" if damage == "short index" else "*.parquet"):
            os.truncate(path, 100)
    for _ in range(2):
        refused(tmp_path / "index", "build the index again", mode)


@pytest.mark.parametrize("name", ["float32_exact", "int8_engine_hnsw"])
@pytest.mark.parametrize("size", [64, 500, 800])
def test_a_full_disk_is_refused_in_one_line(tmp_path, name, size):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    documents = vectors(np.tile(DOCUMENTS, (2, 1)))
    try:
        with pytest.raises(UserError, match="no space is left on the disk") as error:
            write_index(MilvusEngine(), MilvusEngine.all_modes()[name], documents, disk / "index", 1)
        assert "\n" not in str(error.value)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
