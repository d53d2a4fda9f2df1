"""sqlite-vec ranks documents as NumPy does, and its faults are errors in one line."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine_documents import (
    BITS,
    COUNT,
    DIM,
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
from qatlab.engines.engine import MANIFEST, Mode, open_index, write_index
from qatlab.engines.sqlite_vec import DATABASE, SqliteVec
from qatlab.errors import UserError

pytest.importorskip("apsw")
pytest.importorskip("sqlite_vec")

RNG = np.random.default_rng(1)
CODES = RNG.integers(-128, 128, size=(COUNT, DIM)).astype(np.int8)
CODED_QUERIES = RNG.integers(-127, 128, size=(20, DIM)).astype(np.int8)


def searched(mode, documents, queries, tmp_path, floats=None, engine=None, k=K):
    engine = engine or SqliteVec()
    write_index(engine, mode, documents, tmp_path / "index", 1)
    with open_index(engine, mode, tmp_path / "index", 1) as opened:
        return [opened.search(query, k, None if floats is None else floats[at]) for at, query in enumerate(queries)]


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_floats_are_ranked_by_their_similarity(tmp_path, similarity):
    results = searched(Mode("float32"), vectors(SCALED, similarity), QUERIES, tmp_path)
    lengths = np.linalg.norm(SCALED.astype(np.float64), axis=1) if similarity == "cosine" else 1.0
    for ids, query in zip(results, QUERIES.astype(np.float64), strict=True):
        assert ids.dtype == np.int64 and len(ids) == K
        assert ranks_as(ids, SCALED @ query / lengths)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_codes_of_qatlab_are_ranked_by_exact_inner_products_with_ties_in_the_order_of_documents(tmp_path, similarity):
    codes = CODES.copy()
    codes[COUNT // 2 :] = codes[: COUNT // 2]  # Each document has a copy.
    results = searched(Mode("int8", "qatlab"), vectors(codes, similarity), CODED_QUERIES, tmp_path)
    products = codes.astype(np.int64) @ CODED_QUERIES.astype(np.int64).T
    for ids, scores in zip(results, products.T, strict=True):
        assert ids.tolist() == np.lexsort((np.arange(COUNT), -scores))[:K].tolist()


def test_extreme_codes_do_not_overflow(tmp_path):
    codes = np.full((4, 256), -128, dtype=np.int8)
    codes[1], codes[2, :128], codes[3, :4] = 127, 127, -127
    query = np.full((1, 256), -128, dtype=np.int8)
    documents = vectors(codes, floats=np.zeros((4, 256), dtype=np.float32))
    (ids,) = searched(Mode("int8", "qatlab"), documents, query, tmp_path, k=4)
    assert ids.tolist() == [0, 3, 2, 1]


def own_codes(values):
    """Return the codes of `vec_quantize_int8(…, 'unit')`: a grid from -1 to 1, rounded toward zero."""
    return np.clip(np.trunc((values + np.float32(1)) / np.float32(2 / 255) - np.float32(128)), -128, 127)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_its_own_int8_quantizer_has_a_fixed_grid_and_rounds_toward_zero(tmp_path, similarity):
    results = searched(Mode("int8", "engine"), vectors(DOCUMENTS, similarity), DOCUMENTS[:20], tmp_path)
    codes = own_codes(DOCUMENTS).astype(np.float64)
    lengths = np.linalg.norm(codes, axis=1) if similarity == "cosine" else 1.0
    for ids, query in zip(results, codes[:20], strict=True):
        assert ranks_as(ids, codes @ query / lengths)


@pytest.mark.parametrize("quantizer", ["engine", "qatlab"])
def test_bits_are_ranked_by_their_hamming_distance(tmp_path, quantizer):
    documents, queries = (DOCUMENTS, QUERIES) if quantizer == "engine" else (BITS, QUERY_BITS)
    for ids, bits in zip(
        searched(Mode("bits", quantizer), vectors(documents), queries, tmp_path), QUERY_BITS, strict=True
    ):
        assert ranks_as(ids, -hamming(BITS, bits))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("quantizer", ["engine", "qatlab"])
def test_the_nearest_bits_are_scored_again_with_floats(tmp_path, quantizer, similarity):
    mode = Mode("bits", quantizer, rescoring="float32")
    documents, queries = (SCALED, QUERIES) if quantizer == "engine" else (BITS, QUERY_BITS)
    floats = QUERIES if quantizer == "qatlab" else None
    results = searched(mode, vectors(documents, similarity, SCALED), queries, tmp_path, floats)
    exact = QUERIES.astype(np.float64) @ (SCALED if similarity == "dot" else DOCUMENTS).astype(np.float64).T
    for ids, bits, scores in zip(results, QUERY_BITS, exact, strict=True):
        check_rescored(ids, hamming(BITS, bits), scores, 4 * K)


def test_bits_of_qatlab_may_have_padding(tmp_path):
    bits, queries = np.packbits(DOCUMENTS[:, :61] > 0, axis=1), np.packbits(QUERIES[:, :61] > 0, axis=1)
    results = searched(Mode("bits", "qatlab"), vectors(bits, floats=DOCUMENTS[:, :61]), queries, tmp_path)
    assert all(ranks_as(ids, -hamming(bits, query)) for ids, query in zip(results, queries, strict=True))


def test_its_own_bits_of_dimensions_that_fill_no_byte_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"^sqlite_vec: .*divisible by 8") as error:
        searched(Mode("bits", "engine"), vectors(DOCUMENTS[:, :61], floats=DOCUMENTS[:, :61]), QUERIES, tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "index").exists()


def test_two_threads_search_one_index(tmp_path):
    engine, mode = SqliteVec(), Mode("float32")
    write_index(engine, mode, vectors(DOCUMENTS), tmp_path / "index", 2)
    with open_index(engine, mode, tmp_path / "index", 2) as opened, ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda query: opened.search(query, K).tolist(), QUERIES))
        assert together == [opened.search(query, K).tolist() for query in QUERIES]


def test_the_engine_reports_its_table(tmp_path):
    engine, mode = SqliteVec(oversampling=3), Mode("bits", "qatlab", rescoring="float32")
    write_index(engine, mode, vectors(BITS), tmp_path / "index", 1)
    with open_index(engine, mode, tmp_path / "index", 1) as opened:
        reported = opened.parameters()
    assert "vec0(embedding bit[64], floats float[64]" in reported["table"]
    assert reported["oversampling"] == 3
    assert "v0." in reported["sqlite_vec"]


def test_more_neighbours_than_its_limit_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^sqlite_vec: .*4096") as error:
        searched(Mode("float32"), vectors(DOCUMENTS), QUERIES, tmp_path, k=5000)
    assert "\n" not in str(error.value)


@pytest.fixture
def index(tmp_path):
    write_index(SqliteVec(), Mode("float32"), vectors(DOCUMENTS), tmp_path / "index", 1)
    return tmp_path / "index"


def refused(index, pattern):
    with pytest.raises(UserError, match=pattern) as error, open_index(SqliteVec(), Mode("float32"), index, 1):
        pass
    assert "\n" not in str(error.value)


def test_a_locked_database_is_refused_in_one_line(index):
    script = (
        "import apsw, sys; connection = apsw.Connection(sys.argv[1]); connection.execute('begin exclusive');"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(index / "files" / DATABASE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        refused(index, "another process has locked the database")
        other.stdin.close()
    with open_index(SqliteVec(), Mode("float32"), index, 1) as opened:
        assert len(opened.search(QUERIES[0], K)) == K


@pytest.mark.parametrize("content", [b"", b"no database" * 500])
def test_a_damaged_database_is_refused_in_one_line(index, content):
    (index / "files" / DATABASE).write_bytes(content)
    refused(index, r"^sqlite_vec: ")


def test_an_index_of_another_version_is_refused(index, monkeypatch):
    monkeypatch.setattr(SqliteVec, "version", lambda self: "9.9.9")
    refused(index, "9.9.9")


def test_a_build_that_is_killed_leaves_no_index(tmp_path):
    """The process ends while documents are inserted."""

    def killed():
        yield DOCUMENTS[:300]
        raise KeyboardInterrupt

    documents = vectors(DOCUMENTS)
    documents.blocks = killed
    with pytest.raises(KeyboardInterrupt):
        write_index(SqliteVec(), Mode("float32"), documents, tmp_path / "index", 1)
    assert list(tmp_path.iterdir()) == []
    refused(tmp_path / "index", "no complete index")
    write_index(SqliteVec(), Mode("float32"), vectors(DOCUMENTS), tmp_path / "index", 1)
    (tmp_path / "index" / MANIFEST).unlink()
    refused(tmp_path / "index", "no complete index")


def test_a_full_disk_is_refused_in_one_line(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(UserError, match="no space is left on the disk") as error:
            write_index(SqliteVec(), Mode("float32"), vectors(DOCUMENTS), disk / "index", 1)
        assert "\n" not in str(error.value)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
