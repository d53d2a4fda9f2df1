"""Index folders: complete or absent, of one engine, version and mode; faults are one line. Modes of a configuration."""

import errno
from contextlib import contextmanager
from typing import ClassVar, Literal

import numpy as np
import pytest
from pydantic import ValidationError

from engine_documents import DOCUMENTS, QUERIES, K, vectors
from qatlab.config.evaluate import EvaluateConfig
from qatlab.engines.engine import MANIFEST, Engine, Mode, Opened, open_index, write_index
from qatlab.engines.faiss import FaissEngine
from qatlab.engines.usearch import USearchEngine
from qatlab.errors import UserError

ENGINES = [FaissEngine(), USearchEngine()]


class Documents:
    """A block of float32 documents, and another."""

    count, dim, similarity = 60, 16, "cosine"

    def floats(self):
        values = np.random.default_rng(0).normal(size=(self.count, self.dim)).astype(np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        yield values[:40]
        yield values[40:]

    def blocks(self):
        return self.floats()


class Failing(Engine):
    """An engine whose builds fail after their first file."""

    PACKAGES: ClassVar[tuple[str, ...]] = ()
    MODES: ClassVar[tuple[Mode, ...]] = (Mode("float32"),)
    engine: Literal["failing"] = "failing"
    error: int = errno.ENOSPC

    def version(self):
        return "1"

    def build(self, mode, vectors, folder, threads):
        (folder / "half").write_text("half")
        raise OSError(self.error, "failed")

    @contextmanager
    def open(self, mode, folder, threads):
        yield Opened


def built(engine, folder, mode="float32_exact"):
    write_index(engine, engine.all_modes()[mode], Documents(), folder, 1)
    return engine.all_modes()[mode]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.engine)
def test_an_index_is_found_again_with_the_documents_in_their_order(engine, tmp_path):
    mode = built(engine, tmp_path / "index")
    documents = np.concatenate(list(Documents().floats()))
    with open_index(engine, mode, tmp_path / "index", 1) as opened:
        best = np.array([opened.search(row, 3) for row in documents])
        assert opened.parameters()["documents"] == 60
    assert (best[:, 0] == np.arange(60)).all()
    assert best.dtype == np.int64


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.engine)
def test_an_index_that_was_not_finished_or_is_damaged_is_refused(engine, tmp_path):
    mode, folder = built(engine, tmp_path / "index"), tmp_path / "index"
    file = next((folder / "files").iterdir())
    file.write_bytes(b"damaged")
    with (
        pytest.raises(UserError, match=f"is not an index that {engine.engine} .* can read; delete it"),
        open_index(engine, mode, folder, 1),
    ):
        pass
    (folder / MANIFEST).unlink()
    with pytest.raises(UserError, match="holds no complete index; delete it"), open_index(engine, mode, folder, 1):
        pass


def test_an_index_of_another_version_engine_or_mode_is_refused(tmp_path):
    engine, folder = FaissEngine(), tmp_path / "index"
    mode = built(engine, folder)
    with (
        pytest.raises(UserError, match="holds an index whose engine is faiss, but usearch is to be opened"),
        open_index(USearchEngine(), mode, folder, 1),
    ):
        pass
    with (
        pytest.raises(UserError, match="whose mode is float32_exact, but float16_exact is to be opened"),
        open_index(engine, engine.all_modes()["float16_exact"], folder, 1),
    ):
        pass
    manifest = folder / MANIFEST
    manifest.write_text(manifest.read_text().replace(engine.version(), "0.1"))
    with (
        pytest.raises(UserError, match=r"whose version is 0\.1, but .* is to be opened"),
        open_index(engine, mode, folder, 1),
    ):
        pass


def test_a_failed_build_leaves_nothing_and_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no space is left on the disk"):
        built(Failing(), tmp_path / "index")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="failed"):
        built(Failing(error=errno.EIO), tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.engine)
def test_a_disk_that_is_full_while_an_engine_writes_is_one_line(engine, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / {"faiss": "index.faiss", "usearch": "index.usearch"}[engine.engine]).symlink_to("/dev/full")
    mode = engine.all_modes()["float32_exact"]
    with pytest.raises(UserError, match=r"no space is left|cannot write") as refused:
        engine.build(mode, Documents(), folder, 1)
    assert "\n" not in str(refused.value)


def test_unknown_engines_and_modes_are_refused_with_the_valid_names():
    assert EvaluateConfig(engines=["usearch"]).engines == [USearchEngine()]
    for engines, message in (
        (["usarch"], r"unknown engine 'usarch' \(did you mean 'usearch'\?\); valid: faiss"),
        (
            [{"engine": "faiss", "modes": ["float32_exat"]}],
            r"unknown mode 'float32_exat' \(did you mean 'float32_exact'\?\)",
        ),
        ([{"engine": "faiss", "modes": ["pq_engine_exact"] * 2}], "a mode is listed twice"),
        (["faiss", {"engine": "faiss", "modes": ["pq_engine_exact"]}], "engines lists an entry twice: faiss, faiss"),
    ):
        with pytest.raises(ValidationError, match=message):
            EvaluateConfig(engines=engines)


def test_a_configuration_without_engines_is_written_as_before():
    assert "engines" not in EvaluateConfig().model_dump(mode="json")


def test_an_engine_whose_package_is_missing_says_what_to_install():
    class Absent(Failing):
        PACKAGES: ClassVar[tuple[str, ...]] = ("numpy", "no-such-package")

    assert FaissEngine().problem() is None
    assert Absent().problem() == (
        "evaluate.engines: failing needs the package no-such-package, which is not installed; "
        'run `pip install "qatlab[engines]"`, or leave failing out'
    )


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.engine)
def test_default_modes_are_modes(engine):
    assert engine.chosen_modes() == [engine.all_modes()[name] for name in engine.DEFAULTS]
    assert len(engine.all_modes()) == len(engine.MODES)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.engine)
def test_the_candidates_of_a_search_can_be_chosen_when_an_index_is_opened(engine, tmp_path):
    mode = built(engine, tmp_path / "index", "float32_hnsw")
    for candidates in (64, 17):
        chosen = type(engine)(ef_search=candidates)
        with open_index(chosen, mode, tmp_path / "index", 1) as opened:
            opened.search(np.ones(16, dtype=np.float32), 3)
            reported = opened.parameters()
        assert reported["ef_search" if engine.engine == "faiss" else "expansion_search"] == candidates


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.engine)
def test_several_threads_can_build_a_graph_which_then_is_not_called_reproducible(engine, tmp_path):
    mode, parallel = engine.all_modes()["float32_hnsw"], type(engine)(build_threads=2)
    assert engine.reproducible(mode)
    assert not parallel.reproducible(mode)
    assert parallel.reproducible(engine.all_modes()["float32_exact"])
    write_index(parallel, mode, vectors(DOCUMENTS), tmp_path / "index", 1)
    scores = QUERIES @ DOCUMENTS.T
    with open_index(parallel, mode, tmp_path / "index", 1) as opened:
        ids = np.array([opened.search(query, K) for query in QUERIES])
    assert np.mean([np.isin(a, b).mean() for a, b in zip(ids, np.argsort(-scores, axis=1)[:, :K], strict=True)]) > 0.9
    assert np.all(np.diff(np.take_along_axis(scores, ids, 1), axis=1) <= 1e-6)
