"""Qdrant ranks documents as NumPy does in its exact modes, keeps most of the top 10 in the others, and its faults are one line."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qatlab.engines import qdrant
from qatlab.engines.engine import ENGINES, FILES, Mode, open_index, write_index
from qatlab.engines.qdrant import QdrantEngine
from qatlab.errors import UserError

pytest.importorskip("qdrant_edge")

COUNT, DIM, K = 1000, 64, 10
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(10, DIM))
SCALES = np.exp(RNG.normal(size=DIM))  # ranges differ between dimensions, as they do in embeddings
DOCUMENTS = ((CENTRES[RNG.integers(0, 10, COUNT)] + RNG.normal(size=(COUNT, DIM))) * SCALES).astype(np.float32)
DOCUMENTS /= np.linalg.norm(DOCUMENTS, axis=1, keepdims=True)
QUERIES = (DOCUMENTS[:30] + RNG.normal(size=(30, DIM)) * 0.02).astype(np.float32)
CODES = RNG.integers(-128, 128, size=(COUNT, DIM)).astype(np.int8)
CODED_QUERIES = RNG.integers(-128, 128, size=(30, DIM)).astype(np.int8)
PRODUCTS = QUERIES.astype(np.float64) @ DOCUMENTS.astype(np.float64).T
BEST = np.argsort(-PRODUCTS, axis=1)[:, :K]


def vectors(received, dim=DIM, similarity="dot"):
    return SimpleNamespace(
        count=len(received),
        dim=dim,
        similarity=similarity,
        blocks=lambda: iter((received[:300], received[300:])),
        floats=lambda: iter((DOCUMENTS,)),
    )


def searched(mode, documents, queries, folder, engine=None, k=K):
    engine = engine or QdrantEngine()
    write_index(engine, mode, documents, folder / "index", 1)
    with open_index(engine, mode, folder / "index", 1) as opened:
        return np.array([opened.search(query, k) for query in queries])


def ranks_as(results, scores, atol=1e-6):
    """Return whether documents of each result have the scores of the best documents, best first, which ties cannot change."""
    best = -np.sort(-scores, axis=1)[:, : results.shape[1]]
    distinct = all(len(set(row)) == len(row) for row in results.tolist())
    return distinct and np.allclose(np.take_along_axis(scores, results, axis=1), best, rtol=0, atol=atol)


def overlap(results, best=BEST):
    return np.mean([len(set(a) & set(b)) / K for a, b in zip(results.tolist(), best.tolist(), strict=True)])


def hamming(documents, queries):
    return np.bitwise_count(documents[None] ^ queries[:, None]).sum(axis=2).astype(int)


def test_the_engine_is_registered_and_its_default_modes_exist():
    assert ENGINES.get("qdrant") is QdrantEngine
    assert QdrantEngine().problem() is None
    assert len(QdrantEngine().chosen_modes()) == len(QdrantEngine.DEFAULTS)


def test_exact_search_of_floats_ranks_as_inner_products(tmp_path):
    documents = DOCUMENTS * np.linspace(0.5, 2, COUNT, dtype=np.float32)[:, None]
    results = searched(Mode("float32"), vectors(documents), QUERIES, tmp_path)
    assert results.dtype == np.int64
    assert ranks_as(results, QUERIES @ documents.T)


def test_exact_search_by_cosine_does_not_depend_on_lengths(tmp_path):
    documents = DOCUMENTS * np.linspace(0.5, 2, COUNT, dtype=np.float32)[:, None]
    assert ranks_as(searched(Mode("float32"), vectors(documents, similarity="cosine"), QUERIES, tmp_path), PRODUCTS)


def test_exact_search_of_float16_ranks_as_rounded_documents_and_queries(tmp_path):
    rounded = [values.astype(np.float16).astype(np.float64) for values in (QUERIES, DOCUMENTS)]
    results = searched(Mode("float16"), vectors(DOCUMENTS), QUERIES, tmp_path)
    assert ranks_as(results, rounded[0] @ rounded[1].T)


@given(
    count=st.integers(20, 60),
    dim=st.integers(1, 40),
    spread=st.sampled_from([1, 20, 128]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_int8_codes_of_qatlab_rank_by_exact_inner_products(tmp_path, count, dim, spread, seed):
    rng = np.random.default_rng(seed)
    codes = np.clip(rng.integers(-spread, spread, (count, dim)) + rng.integers(-128, 128), -128, 127).astype(np.int8)
    queries = rng.integers(-128, 128, (5, dim)).astype(np.int8)
    results = searched(Mode("int8", "qatlab"), vectors(codes, dim), queries, tmp_path)
    assert ranks_as(results, queries.astype(np.int64) @ codes.astype(np.int64).T, atol=0)


def test_extreme_int8_codes_of_qatlab_rank_by_exact_inner_products(tmp_path):
    """The sums of the codes differ as much as they can: by 255 per dimension."""
    codes = CODES.copy()
    codes[1], codes[2] = -128, 127
    queries = np.vstack([CODED_QUERIES, np.full((1, DIM), -128, np.int8), np.full((1, DIM), 127, np.int8)])
    results = searched(Mode("int8", "qatlab"), vectors(codes), queries, tmp_path)
    assert ranks_as(results, queries.astype(np.int64) @ codes.astype(np.int64).T, atol=0)


@pytest.mark.parametrize("dim", [64, 61])
@pytest.mark.parametrize("index", ["exact", "hnsw"])
def test_bits_of_qatlab_rank_by_hamming_distance(tmp_path, dim, index):
    bits, queries = (np.packbits(values[:, :dim] > 0, axis=1) for values in (DOCUMENTS, QUERIES))
    results = searched(Mode("bits", "qatlab", index), vectors(bits, dim), queries, tmp_path)
    distances = hamming(bits, queries)
    if index == "exact":
        assert ranks_as(results, -distances, atol=0)
    else:
        nearest = np.sort(distances, axis=1)[:, :K].sum()
        assert np.take_along_axis(distances, results, axis=1).sum() <= nearest * 1.05


def test_its_own_bits_are_those_of_qatlab(tmp_path):
    bits, queries = (np.packbits(values > 0, axis=1) for values in (DOCUMENTS, QUERIES))
    results = searched(Mode("bits", "engine"), vectors(DOCUMENTS), QUERIES, tmp_path)
    assert ranks_as(results, -hamming(bits, queries), atol=0)


def test_its_own_int8_rounds_documents_and_queries_to_128_levels_on_one_range_of_all_dimensions(tmp_path):
    low, high = DOCUMENTS.min(), DOCUMENTS.max()
    step = (high - low) / 127
    queries, documents = (
        np.rint((np.clip(values, low, high) - low) / step) * step + low for values in (QUERIES, DOCUMENTS)
    )
    results = searched(Mode("int8", "engine"), vectors(DOCUMENTS), QUERIES, tmp_path)
    assert ranks_as(results, queries.astype(np.float64) @ documents.astype(np.float64).T, atol=1e-5)


@pytest.fixture
def uint8_shard(tmp_path):
    """Return a shard of the engine with the codes as uint8, and these codes, (COUNT, DIM) int64."""
    import qdrant_edge as edge

    params = edge.EdgeVectorParams(
        size=DIM,
        distance=edge.Distance.Dot,
        datatype=edge.VectorStorageDatatype.Uint8,
        quantization_config=edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8),
        hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=1),
    )
    codes = CODES.astype(np.int64) + 128
    optimizers = edge.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1)
    shard = edge.EdgeShard.create(str(tmp_path / "shard"), edge.EdgeConfig(vectors=params, optimizers=optimizers))
    points = [edge.Point(number, row) for number, row in enumerate(codes.astype(float).tolist())]
    shard.update(edge.UpdateOperation.upsert_points(points))
    shard.optimize()
    yield shard, codes
    shard.close()


def test_uint8_vectors_are_compared_with_queries_of_uint8_and_exact_search_ignores_the_quantizer(uint8_shard):
    """This is why int8 queries of qatlab are shifted. If it changes, the shift and the further dimensions can go."""
    import qdrant_edge as edge

    shard, codes = uint8_shard
    query = RNG.normal(size=DIM) * 100
    request = edge.SearchRequest(
        query=edge.Query.Nearest(query.tolist()), limit=K, params=edge.SearchParams(exact=True)
    )
    as_uint8 = np.clip(query, 0, 255).astype(np.uint8).astype(np.int64)
    for point in shard.search(request):
        assert point.score == codes[point.id] @ as_uint8


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("float32_hnsw", 0.97),
        ("float16_hnsw", 0.97),
        ("int8_engine_exact", 0.7),
        ("int8_engine_hnsw", 0.7),
        ("rotated_engine_exact", 0.75),
        ("rotated_engine_hnsw", 0.75),
        ("pq_engine_exact", 0.4),
        ("pq_engine_hnsw", 0.4),
    ],
)
def test_graphs_and_quantizers_keep_most_of_the_top_10(tmp_path, name, least):
    mode = QdrantEngine.all_modes()[name]
    assert overlap(searched(mode, vectors(DOCUMENTS), QUERIES, tmp_path)) >= least


@pytest.mark.parametrize("stored", ["int8", "bits", "rotated", "pq"])
@pytest.mark.parametrize("index", ["exact", "hnsw"])
def test_rescoring_by_float32_finds_more_of_the_best_documents(tmp_path, stored, index):
    plain = overlap(searched(Mode(stored, "engine", index), vectors(DOCUMENTS), QUERIES, tmp_path))
    results = searched(Mode(stored, "engine", index, "float32"), vectors(DOCUMENTS), QUERIES, tmp_path)
    assert overlap(results) > plain
    assert np.all(np.diff(np.take_along_axis(PRODUCTS, results, axis=1), axis=1) <= 1e-6)


@pytest.mark.parametrize(("stored", "field"), [("rotated", "rotated_bits"), ("bits", "query_bits")])
def test_more_bits_find_more_of_the_best_documents(tmp_path, stored, field):
    few, many = (
        searched(Mode(stored, "engine"), vectors(DOCUMENTS), QUERIES, tmp_path, QdrantEngine(**{field: bits}))
        for bits in (1, 8)
    )
    assert overlap(many) > overlap(few)


@pytest.mark.parametrize("mode", [mode for mode in QdrantEngine.MODES if QdrantEngine().reproducible(mode)])
def test_two_builds_of_a_reproducible_mode_give_the_same_results(tmp_path, mode):
    codes = mode == Mode("int8", "qatlab")
    bits = mode == Mode("bits", "qatlab")
    stored, queries = (
        np.packbits(floats > 0, axis=1) if bits else coded if codes else floats
        for floats, coded in ((DOCUMENTS, CODES), (QUERIES, CODED_QUERIES))
    )
    first, second = (searched(mode, vectors(stored), queries, tmp_path) for _ in range(2))
    assert np.array_equal(first, second)


def test_graphs_differ_from_build_to_build_even_in_one_thread(tmp_path):
    """If this changes, graphs are reproducible."""
    graphs = []
    for name in ("first", "second"):
        write_index(QdrantEngine(), Mode("float32", index="hnsw"), vectors(DOCUMENTS), tmp_path / name, 1)
        graphs.append([path.read_bytes() for path in (tmp_path / name).rglob("links_compressed.bin")])
    assert len(graphs[0]) == 1
    assert graphs[0] != graphs[1]


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("float32_exact", {"vectors.datatype": "float32", "vectors.distance": "Dot", "graph.m": 0}),
        ("float16_hnsw", {"vectors.datatype": "float16", "graph.m": 16, "graph.ef_construct": 100}),
        ("int8_engine_exact", {"vectors.quantization_config.scalar.type": "int8"}),
        ("bits_engine_exact", {"vectors.quantization_config.binary.query_encoding": "binary"}),
        ("rotated_engine_hnsw", {"quantizer.bits": "bits4", "vectors.quantization_config.turbo.bits": "bits4"}),
        ("pq_engine_exact", {"vectors.quantization_config.product.compression": "x16"}),
    ],
)
def test_the_engine_reports_its_settings(tmp_path, name, reported):
    engine, mode = QdrantEngine(), QdrantEngine.all_modes()[name]
    write_index(engine, mode, vectors(DOCUMENTS), tmp_path / "index", 1)
    with open_index(engine, mode, tmp_path / "index", 1) as opened:
        parameters = opened.parameters()
    assert parameters.items() >= reported.items()
    assert parameters["documents"] == parameters["indexed"] == COUNT
    assert ("quantizer.alpha" in parameters) == (name == "int8_engine_exact")


def test_modes_of_quantizers_keep_the_quantizer_when_they_are_opened_again(tmp_path):
    """Opening writes the engine's settings."""
    engine, mode = QdrantEngine(), Mode("int8", "engine")
    write_index(engine, mode, vectors(DOCUMENTS), tmp_path / "index", 1)
    reports = []
    for threads in (1, 2):
        with open_index(engine, mode, tmp_path / "index", threads) as opened:
            reports.append((dict(opened.parameters()), [opened.search(query, K).tolist() for query in QUERIES]))
    assert reports[0] == reports[1]


def test_two_threads_search_one_index(tmp_path):
    write_index(QdrantEngine(), Mode("float32"), vectors(DOCUMENTS), tmp_path / "index", 1)
    with open_index(QdrantEngine(), Mode("float32"), tmp_path / "index", 2) as opened, ThreadPoolExecutor(2) as pool:
        assert ranks_as(np.array(list(pool.map(lambda query: opened.search(query, K), QUERIES))), PRODUCTS)


OPEN = """
import sys
from pathlib import Path
import numpy as np
from qatlab.engines.engine import Mode, open_index
from qatlab.engines.qdrant import QdrantEngine
with open_index(QdrantEngine(), Mode("float32"), Path(sys.argv[1]), 1) as opened:
    print(*opened.search(np.load(sys.argv[2]), 10))
"""


def test_another_process_opens_the_index_at_the_same_time_and_after_it_moved(tmp_path):
    write_index(QdrantEngine(), Mode("float32"), vectors(DOCUMENTS), tmp_path / "first", 1)
    (tmp_path / "first").rename(tmp_path / "index")
    np.save(tmp_path / "query.npy", QUERIES[0])
    with open_index(QdrantEngine(), Mode("float32"), tmp_path / "index", 1) as opened:
        command = [sys.executable, "-c", OPEN, tmp_path / "index", tmp_path / "query.npy"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert printed.split() == [str(number) for number in opened.search(QUERIES[0], K)]


FLOATS = Mode("float32")


def refused(folder, message, mode=FLOATS):
    with pytest.raises(UserError, match=message) as error, open_index(QdrantEngine(), mode, folder, 1):
        pass
    assert "\n" not in str(error.value)


KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from qatlab.engines.engine import Mode, write_index
from qatlab.engines.qdrant import QdrantEngine

def blocks():
    yield np.ones((300, 64), np.float32)
    os.kill(os.getpid(), signal.SIGKILL)

vectors = SimpleNamespace(count=600, dim=64, similarity="dot", blocks=blocks, floats=None)
write_index(QdrantEngine(), Mode("float32"), vectors, Path(sys.argv[1]), 1)
"""


def test_a_build_that_is_killed_leaves_no_index_and_does_not_disturb_the_next_build(tmp_path):
    ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "index"], env=os.environ)
    assert ended.returncode == -signal.SIGKILL
    refused(tmp_path / "index", "no complete index")
    assert ranks_as(searched(Mode("float32"), vectors(DOCUMENTS), QUERIES, tmp_path), PRODUCTS)


def test_an_index_of_another_version_is_refused_in_one_line(tmp_path, monkeypatch):
    write_index(QdrantEngine(), Mode("float32"), vectors(DOCUMENTS), tmp_path / "index", 1)
    with monkeypatch.context() as patch:
        patch.setattr(qdrant, "version", lambda package: "0.8.0")
        refused(tmp_path / "index", r"version is [\d.]+, but 0\.8\.0 is to be opened")
    for path in (tmp_path / "index").rglob("version.info"):
        path.write_text("9.0.0")
    refused(tmp_path / "index", "Data version 9.0.0 is newer")


@pytest.mark.parametrize("damage", ["no settings", "broken settings", "no segments", "short vectors", "short codes"])
def test_a_damaged_index_is_refused_in_one_line(tmp_path, damage):
    mode = Mode("int8", "engine")
    write_index(QdrantEngine(), mode, vectors(DOCUMENTS), tmp_path / "index", 1)
    files = tmp_path / "index" / FILES
    if damage == "no settings":
        (files / qdrant.CONFIG).unlink()
    elif damage == "broken settings":
        (files / qdrant.CONFIG).write_text("{")
    elif damage == "no segments":
        (files / "segments").rename(files / "elsewhere")
    else:
        for path in files.rglob("matrix.dat" if damage == "short vectors" else "quantized.data"):
            os.truncate(path, 100)
    refused(tmp_path / "index", "build the index again", mode)


def test_documents_that_the_engine_would_not_index_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="needs more than 3 documents"):
        write_index(QdrantEngine(), Mode("int8", "engine"), vectors(DOCUMENTS[:3]), tmp_path / "index", 1)
    assert list(tmp_path.iterdir()) == []
    assert searched(Mode("float32"), vectors(DOCUMENTS[:3]), QUERIES[:1], tmp_path).shape == (1, 3)


@pytest.mark.parametrize("name", ["float32_exact", "int8_engine_exact"])
@pytest.mark.parametrize("size", [64, 1000, 6000])
def test_a_full_disk_is_refused_in_one_line(tmp_path, name, size):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(UserError, match="no space is left on the disk") as error:
            write_index(QdrantEngine(), QdrantEngine.all_modes()[name], vectors(DOCUMENTS), disk / "index", 1)
        assert "\n" not in str(error.value)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_the_required_space_is_enough_for_every_default_mode(tmp_path):
    """A build on a disk with no more than the required space succeeds."""
    disk = tmp_path / "disk"
    disk.mkdir()
    needed = COUNT * (qdrant.COPIES * 4 * DIM + qdrant.PER_DOCUMENT) + qdrant.FIXED
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={needed + 65536}", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        for name in ("float32_hnsw", "int8_engine_hnsw_float32", "rotated_engine_hnsw_float32"):
            results = searched(QdrantEngine.all_modes()[name], vectors(DOCUMENTS), QUERIES, Path(disk))
            assert overlap(results) > 0.9
            subprocess.run(["rm", "-r", disk / "index"], check=True)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
