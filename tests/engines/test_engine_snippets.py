"""Snippets of engines, executed: each finds with the engine's own package what the engine's class finds."""

import numpy as np
import pytest

from engine_documents import BITS, DOCUMENTS, QUERIES, QUERY_BITS, SCALED, K, alike, vectors
from qatlab.engines.engine import ENGINES, open_index, write_index
from qatlab.quantization import MinMaxRange, quantize_embeddings
from qatlab.quantization.grids import queries_for_codes

RANGES = MinMaxRange().fit(DOCUMENTS)
SIDES = {
    "int8": (quantize_embeddings(DOCUMENTS, "int8", RANGES), queries_for_codes(QUERIES, RANGES)),
    "bits": (BITS, QUERY_BITS),
}
FEWEST = {  # modes with a snippet, at either similarity
    "faiss": 10,
    "usearch": 12,
    "sqlite_vec": 4,
    "qdrant": 4,
    "milvus": 4,
    "pgvector": 6,
    "lancedb": 3,
}
GRAPHS_AGREE = 0.9  # share of documents; graphs of two builds may differ


def received(mode, similarity):
    """The documents and queries that an engine receives in a mode."""
    if mode.quantizer == "qatlab":
        return SIDES[mode.stored]
    return (DOCUMENTS if similarity == "cosine" else SCALED), QUERIES


def executed(snippet, stored, searched):
    """The ids that the code of a snippet finds."""
    names = {"stored": stored, "searched": searched}
    exec("\n".join([*snippet.imports, *snippet.lines]), names)
    return np.array([list(ids) for ids in names["ids"]], dtype=np.int64)


@pytest.mark.slow(90)
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("name", ENGINES.built_in)
def test_a_snippet_finds_what_its_engine_finds(name, similarity, tmp_path, monkeypatch):
    engine = ENGINES.get(name)()
    if engine.problem():
        pytest.skip(engine.problem())
    executable = 0
    for mode in engine.MODES:
        snippet = engine.snippet(mode, similarity)
        if snippet is None:
            continue
        executable += 1
        stored, searched = received(mode, similarity)
        folder = tmp_path / mode.name
        write_index(engine, mode, vectors(stored, similarity), folder, 1)
        with open_index(engine, mode, folder, 1) as opened:
            expected = np.array([opened.search(query, K) for query in searched])
            if name == "pgvector":  # whose snippet uses a server that runs
                opened.server.connect().execute("create extension if not exists vector; drop table documents")
                settings = {"HOST": opened.server.sockets, "USER": "postgres", "DATABASE": "postgres"}
                for setting, value in settings.items():
                    monkeypatch.setenv(f"PG{setting}", str(value))
            ids = executed(snippet, stored, searched)
        assert ids.shape == expected.shape == (len(searched), K)
        assert alike(mode, stored, searched, ids, expected) >= (1 if mode.index == "exact" else GRAPHS_AGREE), mode.name
    assert executable >= FEWEST[name]
