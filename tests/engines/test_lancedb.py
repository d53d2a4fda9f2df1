"""LanceDB ranks documents as NumPy does where it stores them exactly, and as its documented quantizers do where it does not."""

import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from qatlab.engines.engine import ENGINES, open_index, write_index
from qatlab.engines.lancedb import LanceDB
from qatlab.errors import UserError

pytest.importorskip("lancedb")

COUNT, DIM, QUERIES, K = 700, 32, 15, 10


class Documents:
    """Documents in blocks of 300, whose embeddings come in blocks of 250."""

    def __init__(self, values, embeddings=None, similarity="dot", dim=None):
        self.values, self.embeddings, self.similarity = values, embeddings, similarity
        self.count, self.dim = len(values), dim or values.shape[1]

    def blocks(self):
        yield from (self.values[first : first + 300] for first in range(0, self.count, 300))

    def floats(self):
        yield from (self.embeddings[first : first + 250] for first in range(0, self.count, 250))


@pytest.fixture(scope="module")
def embeddings():
    """Return documents and queries, (700, 32) and (15, 32) float32, whose scales and means differ between dimensions."""
    rng = np.random.default_rng(0)
    scale, mean = np.exp(rng.normal(size=DIM) / 2), rng.normal(size=DIM) / 4
    return tuple((rng.normal(size=(n, DIM)) * scale + mean).astype(np.float32) for n in (COUNT, QUERIES))


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def searched(folder, name, documents, queries, floats=None, **config):
    """Build and open a mode, and return the ids of all queries, (q, K) int64, and the parameters."""
    engine = LanceDB(modes=[name], **config)
    (mode,) = engine.chosen_modes()
    write_index(engine, mode, documents, folder / name, threads=1)
    rescored = [None] * len(queries) if floats is None else floats
    with open_index(engine, mode, folder / name, threads=1) as index:
        ids = [index.search(query, K, other) for query, other in zip(queries, rescored, strict=True)]
        return np.array(ids), dict(index.parameters())


def best(scores):
    return np.argsort(-scores, axis=1, kind="stable")[:, :K]


def overlap(ids, expected):
    return np.mean([len(set(a) & set(b)) / K for a, b in zip(ids.tolist(), expected.tolist(), strict=True)])


def test_the_engine_is_registered_and_installed():
    engine = ENGINES.get("lancedb")()
    assert engine.problem() is None
    assert engine.version().count(".") == 2
    assert {mode.name for mode in engine.chosen_modes()} == set(LanceDB.DEFAULTS)


def test_exact_search_of_floats_ranks_as_inner_products(tmp_path, embeddings):
    documents, queries = embeddings
    ids, parameters = searched(tmp_path, "float32_exact", Documents(documents), queries)
    assert ids.dtype == np.int64
    assert np.array_equal(ids, best(queries.astype(np.float64) @ documents.T.astype(np.float64)))
    assert parameters == {
        "column": f"fixed_size_list<item: float>[{DIM}]",
        "distance_type": "dot",
        "index_type": "none",
    }


def test_exact_search_by_cosine_ranks_as_inner_products_of_unit_vectors(tmp_path, embeddings):
    documents, queries = embeddings
    ids, _ = searched(tmp_path, "float32_exact", Documents(documents, similarity="cosine"), queries)
    assert np.array_equal(ids, best(unit(queries.astype(np.float64)) @ unit(documents.astype(np.float64)).T))


def test_equal_documents_come_in_their_order(tmp_path, embeddings):
    documents, queries = embeddings
    copies = np.repeat(documents[:4], COUNT // 4, axis=0)
    ids, _ = searched(tmp_path, "float32_exact", Documents(copies), queries)
    assert all(np.array_equal(row, np.arange(row[0], row[0] + K)) for row in ids)
    assert set(ids[:, 0] % (COUNT // 4)) == {0}


def test_exact_search_of_float16_ranks_as_rounded_documents(tmp_path, embeddings):
    documents, queries = embeddings
    ids, parameters = searched(tmp_path, "float16_exact", Documents(documents), queries)
    exact = queries.astype(np.float16).astype(np.float64) @ documents.astype(np.float16).astype(np.float64).T
    # Documents that differ by less than the rounding error of a sum in float16 or float32 may change places.
    chosen, largest = np.take_along_axis(exact, ids, 1), np.take_along_axis(exact, best(exact), 1)
    assert np.allclose(chosen, largest, rtol=2e-3)
    assert parameters["column"] == f"fixed_size_list<item: halffloat>[{DIM}]"


@pytest.mark.parametrize("dim", [DIM, 20])
def test_bits_of_qatlab_rank_by_hamming_distance_with_ties_in_the_order_of_documents(tmp_path, embeddings, dim):
    documents, queries = (np.packbits(values[:, :dim] > 0, axis=1) for values in embeddings)
    ids, parameters = searched(tmp_path, "bits_qatlab_exact", Documents(documents, dim=dim), queries)
    distances = (np.unpackbits(queries, axis=1)[:, None] != np.unpackbits(documents, axis=1)[None]).sum(axis=2)
    assert np.array_equal(ids, best(-distances))
    assert parameters["distance_type"] == "hamming"


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_bits_of_qatlab_are_rescored_by_float32(tmp_path, embeddings, similarity):
    documents, queries = embeddings
    codes, coded = (np.packbits(values > 0, axis=1) for values in embeddings)
    stored = Documents(codes, documents, similarity, dim=DIM)
    ids, _ = searched(tmp_path, "bits_qatlab_exact_float32", stored, coded, queries, oversampling=3)
    distances = (np.unpackbits(coded, axis=1)[:, None] != np.unpackbits(codes, axis=1)[None]).sum(axis=2)
    candidates = np.argsort(distances, axis=1, kind="stable")[:, : 3 * K]
    compared = unit(documents.astype(np.float64)) if similarity == "cosine" else documents.astype(np.float64)
    exact = np.take_along_axis(queries.astype(np.float64) @ compared.T, candidates, 1)
    assert np.array_equal(ids, np.take_along_axis(candidates, best(exact), 1))


def test_int8_of_lancedb_truncates_on_one_range_of_all_dimensions_and_keeps_queries_in_float32(tmp_path, embeddings):
    """This is what sets its codes apart from qatlab's, which are rounded on one range per dimension."""
    documents, queries = embeddings
    ids, parameters = searched(tmp_path, "int8_engine_exact", Documents(documents), queries)
    low, high = float(documents.min()), float(documents.max())
    codes = np.floor((documents.astype(np.float64) - low) / (high - low) * 255)
    assert np.array_equal(ids, best(queries.astype(np.float64) @ codes.T))
    assert (parameters["index_type"], parameters["compression.num_bits"]) == ("IvfSq", 8)


def test_int8_of_lancedb_truncates_queries_too_if_the_similarity_is_cosine(tmp_path, embeddings):
    documents, queries = (unit(values) for values in embeddings)
    ids, _ = searched(tmp_path, "int8_engine_exact", Documents(documents, similarity="cosine"), queries)
    low, step = documents.min(), (documents.max() - documents.min()) / 255
    codes, coded = (np.clip(np.floor((values - low) / step), 0, 255) for values in (documents, queries))
    distances = ((coded[:, None] - codes[None]) ** 2).sum(axis=2)
    # A code differs where rounding in float32 crosses the next integer, so that near documents may change places.
    same, with_float_queries = ((ids == best(scores)).mean() for scores in (-distances, queries @ codes.T))
    assert same > 0.9 > with_float_queries


@pytest.fixture(scope="module")
def codes():
    """Return codes of documents, (700, 32) int8 that leave the ends of the range out, and weighted queries, (15, 32) int8."""
    rng = np.random.default_rng(1)
    return tuple(rng.integers(-90, 60, size=(n, DIM)).astype(np.int8) for n in (COUNT, QUERIES))


def test_int8_codes_of_qatlab_rank_by_their_inner_products(tmp_path, codes):
    """The documents hold each code twice, so that an index chooses between two equal documents where only one is among the best."""
    documents, queries = np.concatenate([codes[0][:350]] * 2), codes[1]
    ids, parameters = searched(tmp_path, "int8_qatlab_exact", Documents(documents, similarity="cosine"), queries)
    scores = queries.astype(np.int64) @ documents.T.astype(np.int64)
    assert np.array_equal(np.take_along_axis(scores, ids, 1), np.take_along_axis(scores, best(scores), 1))
    assert np.array_equal(ids[:, : K - 2], best(scores)[:, : K - 2])
    assert (parameters["distance_type"], parameters["index_type"]) == ("dot", "IvfSq")


def test_int8_codes_of_qatlab_with_extreme_values_stay_as_they_are(tmp_path):
    documents = np.random.default_rng(2).choice([-128, -127, 0, 126, 127], size=(COUNT, DIM)).astype(np.int8)
    queries = np.random.default_rng(3).choice([-127, 1, 127], size=(QUERIES, DIM)).astype(np.int8)
    ids, _ = searched(tmp_path, "int8_qatlab_exact", Documents(documents), queries)
    assert np.array_equal(ids, best(queries.astype(np.int64) @ documents.T.astype(np.int64)))


def test_int8_codes_of_qatlab_are_rescored_by_float32(tmp_path, embeddings, codes):
    """The candidates depend on the codes, and their order on the embeddings, which have nothing to do with the codes here."""
    ids, _ = searched(
        tmp_path,
        "int8_qatlab_exact_float32",
        Documents(codes[0], embeddings[0]),
        codes[1],
        embeddings[1],
        oversampling=2,
    )
    candidates = np.argsort(-(codes[1].astype(np.int64) @ codes[0].T.astype(np.int64)), axis=1, kind="stable")[
        :, : 2 * K
    ]
    exact = np.take_along_axis(embeddings[1].astype(np.float64) @ embeddings[0].T.astype(np.float64), candidates, 1)
    assert np.array_equal(ids, np.take_along_axis(candidates, best(exact), 1))


@pytest.mark.parametrize("name", ["int8_qatlab_ivf", "int8_qatlab_hnsw"])
def test_lists_and_graphs_of_int8_codes_of_qatlab_find_most_of_the_best_documents(tmp_path, codes, name):
    documents, queries = codes
    config = {"lists": 10, "probes": 9} if name.endswith("ivf") else {"ef_search": 200}
    ids, _ = searched(tmp_path, name, Documents(documents), queries, **config)
    assert overlap(ids, best(queries.astype(np.int64) @ documents.T.astype(np.int64))) > 0.85


@pytest.mark.parametrize("stored", ["int8", "pq", "rotated"])
def test_rescoring_by_float32_finds_more_of_the_best_documents(tmp_path, embeddings, stored):
    documents, queries = embeddings
    expected = best(queries.astype(np.float64) @ documents.T.astype(np.float64))
    plain, _ = searched(tmp_path, f"{stored}_engine_exact", Documents(documents), queries)
    rescored, parameters = searched(tmp_path, f"{stored}_engine_exact_float32", Documents(documents), queries)
    assert parameters["refine_factor"] == 4
    assert (plain == expected).mean() < (rescored == expected).mean()
    assert overlap(rescored, expected) > 0.7


@pytest.mark.parametrize("name", ["float32_ivf", "float16_ivf", "int8_engine_ivf_float32"])
def test_lists_that_are_all_visited_find_what_exact_search_finds(tmp_path, embeddings, name):
    documents, queries = embeddings
    expected = best(queries.astype(np.float64) @ documents.T.astype(np.float64))
    ids, parameters = searched(tmp_path, name, Documents(documents), queries, lists=12, probes=12)
    assert parameters["num_partitions"] == 12
    assert overlap(ids, expected) > 0.97
    few, _ = searched(tmp_path, name, Documents(documents), queries, lists=12, probes=1)
    assert overlap(few, expected) < 0.9


@pytest.mark.parametrize("name", ["float32_hnsw", "int8_engine_hnsw_float32", "bits_qatlab_hnsw"])
def test_graphs_find_most_of_the_best_documents_by_unit_vectors(tmp_path, embeddings, name):
    documents, queries = (unit(values) for values in embeddings)
    scores = queries @ documents.T
    if name.startswith("bits"):
        documents, queries = (np.packbits(values > 0, axis=1) for values in (documents, queries))
        scores = -(np.unpackbits(queries, axis=1)[:, None] != np.unpackbits(documents, axis=1)[None]).sum(axis=2)
    ids, parameters = searched(
        tmp_path, name, Documents(documents, similarity="cosine", dim=DIM), queries, m=16, ef_construction=100
    )
    reached, largest = np.take_along_axis(scores, ids, 1), np.take_along_axis(scores, best(scores), 1)
    assert np.isclose(reached, largest, rtol=1e-3).mean() > 0.9
    assert (parameters["hnsw.max_connections"], parameters["hnsw.construction_ef"]) == (16, 100)
    assert parameters["ef"] == 64


@pytest.mark.parametrize("name", ["pq_engine_ivf", "rotated_engine_ivf", "bits_qatlab_ivf", "float32_ivf"])
def test_every_kind_of_index_covers_all_documents_and_reports_its_settings(tmp_path, embeddings, name):
    documents, queries = embeddings
    if "qatlab" in name:
        documents, queries = (np.packbits(values > 0, axis=1) for values in embeddings)
    config = {"code_bytes": 8} if name.startswith("pq") else {}
    ids, parameters = searched(tmp_path, name, Documents(documents, dim=DIM), queries, **config)
    assert ids.shape == (QUERIES, K)
    assert (parameters["nprobes"], parameters["num_partitions"]) == (20, 26)
    assert parameters.get("compression.num_sub_vectors", 8) == 8


@pytest.mark.parametrize(
    ("name", "count", "dim", "config", "message"),
    [
        ("pq_engine_ivf", 255, 32, {}, "fits pq on at least 256 documents, and a task has 255"),
        ("pq_engine_exact", 300, 32, {"code_bytes": 5}, "code_bytes 5 of lancedb does not divide 32 dimensions"),
        ("rotated_engine_exact", 300, 20, {}, "needs a multiple of 8 dimensions, and the embeddings have 20"),
    ],
)
def test_documents_that_do_not_fit_a_quantizer_are_refused_in_one_line(tmp_path, name, count, dim, config, message):
    documents = np.random.default_rng(0).normal(size=(count, dim)).astype(np.float32)
    with pytest.raises(UserError, match=message) as caught:
        searched(tmp_path, name, Documents(documents), documents[:1], **config)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_fewer_documents_than_requested_are_all_found(tmp_path, embeddings):
    documents, queries = embeddings
    ids, _ = searched(tmp_path, "int8_engine_exact", Documents(documents[:3]), queries)
    assert np.array_equal(np.sort(ids, axis=1), np.tile(np.arange(3), (QUERIES, 1)))


def _search_again(folder, documents, queries, results):
    engine = LanceDB()
    with open_index(engine, LanceDB.all_modes()["float32_exact"], folder, 1) as index:
        results.put(np.array([index.search(query, K) for query in queries]))


def test_an_index_is_searched_by_two_processes_at_once_and_after_it_moved(tmp_path, embeddings):
    documents, queries = embeddings
    engine, mode = LanceDB(), LanceDB.all_modes()["float32_exact"]
    write_index(engine, mode, Documents(documents), tmp_path / "first", threads=1)
    moved = (tmp_path / "first").rename(tmp_path / "a folder #1%20?")
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with open_index(engine, mode, moved, 1) as index:
        other = context.Process(target=_search_again, args=(moved, documents, queries, results))
        other.start()
        theirs = results.get(timeout=120)
        other.join()
        assert np.array_equal(theirs, [index.search(query, K) for query in queries])


class Killed(Documents):
    """Documents whose second block ends the process as the kernel does when memory runs out."""

    def blocks(self):
        yield self.values[:300]
        os.kill(os.getpid(), signal.SIGKILL)


def _build_killed(folder, values):
    write_index(LanceDB(), LanceDB.all_modes()["float32_exact"], Killed(values), folder, threads=1)


def test_a_build_that_was_killed_leaves_no_index_to_open(tmp_path, embeddings):
    process = multiprocessing.get_context("spawn").Process(
        target=_build_killed, args=(tmp_path / "index", embeddings[0])
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with (
        pytest.raises(UserError, match="holds no complete index; delete it, and build the index again"),
        open_index(LanceDB(), LanceDB.all_modes()["float32_exact"], tmp_path / "index", 1),
    ):
        pass


def test_a_table_whose_index_was_never_made_is_not_searched(tmp_path, embeddings):
    """LanceDB itself would compare every document, which would pass for the index that is to be measured."""
    engine, modes = LanceDB(), LanceDB.all_modes()
    (tmp_path / "files").mkdir()
    engine.build(modes["float32_exact"], Documents(embeddings[0]), tmp_path / "files", 1)
    with (
        pytest.raises(UserError, match="holds no complete index of float32_hnsw"),
        engine.open(modes["float32_hnsw"], tmp_path / "files", 1),
    ):
        pass


@pytest.mark.parametrize("kind", ["data/*.lance", "_versions/*.manifest", "_indices/*/auxiliary.idx"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_missing_and_damaged_files_are_reported_in_one_line(tmp_path, embeddings, kind, damage):
    engine, mode = LanceDB(), LanceDB.all_modes()["int8_engine_exact_float32"]
    write_index(engine, mode, Documents(embeddings[0]), tmp_path / "index", threads=1)
    paths = list((tmp_path / "index").glob(f"files/*/{kind}"))
    assert paths
    for path in paths:
        path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:100])
    with (
        pytest.raises(UserError, match=r"build (the index|it) again$") as caught,
        open_index(engine, mode, tmp_path / "index", 1) as index,
    ):
        index.search(embeddings[1][0], K)
    assert "\n" not in str(caught.value)
    assert ".rs:" not in str(caught.value)


def test_files_that_go_while_the_index_is_open_are_reported_in_one_line(tmp_path, embeddings):
    engine, mode = LanceDB(), LanceDB.all_modes()["float32_exact"]
    write_index(engine, mode, Documents(embeddings[0]), tmp_path / "index", threads=1)
    with open_index(engine, mode, tmp_path / "index", 1) as index:
        for path in (tmp_path / "index").glob("files/*/data/*.lance"):
            path.unlink()
        with pytest.raises(UserError, match=r"lancedb cannot search float32_exact: .*Not found"):
            index.search(embeddings[1][0], K)


def test_a_full_disk_is_reported_in_one_line(tmp_path, embeddings):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(UserError, match="no space is left on the disk"):
            searched(disk, "float32_exact", Documents(embeddings[0]), embeddings[1])
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


PROBE = """
import os, socket
os.environ["LANCEDB_API_KEY"] = "secret-of-the-user"
os.environ["LANCE_FLAT_SEARCH_PERCENT_THRESHOLD"] = "1"
def refuse(*_):
    raise AssertionError("a connection was opened")
socket.socket.connect = refuse
from qatlab.engines.lancedb import import_lancedb
import_lancedb(1)
print(*sorted(name for name in os.environ if name.startswith("LANCE")))
"""


def test_settings_and_keys_in_the_environment_do_not_reach_the_engine():
    probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert probe.stdout.split() == ["LANCEDB_LOG", "LANCE_CPU_THREADS"]


def test_results_that_depend_on_chance_are_marked():
    reproducible = {name for name, mode in LanceDB.all_modes().items() if LanceDB().reproducible(mode)}
    assert reproducible == {
        "float32_exact",
        "float16_exact",
        "int8_engine_exact",
        "int8_engine_exact_float32",
        "int8_qatlab_exact",
        "int8_qatlab_exact_float32",
        "bits_qatlab_exact",
        "bits_qatlab_exact_float32",
    }
