"""Benchmark of vector search engines: queries per second at equal nDCG, and what their graphs take to build, in memory and on disk.

Graphs trade quality for speed by the number of candidates of a search. The candidates of each engine are therefore chosen from
CANDIDATES: the fewest with which it reaches SHARE of the nDCG@10 of the exact search. Each build and each search has a process of its own.

Documents are drawn around centres in a space of few dimensions, whose scales decrease as those of real embeddings do, and projected to
the dimensions of embeddings with a little noise. The relevant documents of a query are noisy copies of a source of which the query is
another copy, so that an exact search does not find all of them first, either.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qatlab import ranked
from qatlab.artifact import load_array
from qatlab.bench.run import Row
from qatlab.engines.engine import ENGINES
from qatlab.errors import UserError
from qatlab.evaluation.axes import unit_length
from qatlab.evaluation.engine_process import IDS, request

DOCUMENTS, DIM, QUERIES, TOP_K = 1_000_000, 384, 1000, 10
COPIES = 5  # relevant documents of a query
INNER_DIM, CENTRES = 32, 2000  # dimensions in which documents are drawn, and number of centres
SPREAD, COPIED, ROUGH = 0.7, 0.55, 0.2  # noise around a centre, of a copy, and in the dimensions of embeddings
AT_ONCE = 1 << 16
SHARE = 0.99
CANDIDATES = (16, 32, 64, 128, 256, 512)
THREADS = os.cpu_count() or 1  # that build an index
SETTINGS = {"usearch": {"build_threads": THREADS}, "faiss": {"build_threads": THREADS}}  # others use all threads anyway
CANDIDATES_FIELD = {"usearch": "ef_search", "faiss": "ef_search", "qdrant": "ef"}
GRAPH, EXHAUSTIVE = "float32_hnsw", "float32_exact"


@dataclass(frozen=True)
class Inputs:
    """Embeddings in .npy files.

    Attributes:
        folder: Folder of the files, and of indexes.
        documents, queries: Files of (n, dim) float32 of unit length.
        sources: (documents,) int64, the query of which a document is relevant, −1 where it is relevant to none.
        dim: Number of dimensions.
    """

    folder: Path
    documents: Path
    queries: Path
    sources: np.ndarray
    dim: int

    @property
    def bytes(self) -> int:
        """Return the bytes of the documents in float32."""
        return len(self.sources) * self.dim * 4

    def index(self, engine: str, mode: str) -> Path:
        """Return the folder of an engine's index."""
        return self.folder / f"index-{engine}-{mode}"


class Searched(NamedTuple):
    """One search of an index: its nDCG@10, queries per second, and the memory in bytes that it added, None if unknown."""

    ndcg: float
    speed: float
    memory: int | None


def measure_engines(
    documents: int = DOCUMENTS,
    dim: int = DIM,
    queries: int = QUERIES,
    engines: tuple[str, ...] = tuple(CANDIDATES_FIELD),
) -> Iterator[Row]:
    """Measure graphs of float32 embeddings: queries per second in one thread, build time, memory and bytes on disk.

    Args:
        documents: number of documents.
        dim: number of dimensions.
        queries: number of queries, each of which has COPIES relevant documents.
        engines: names of engines.

    Raises:
        UserError: for an engine that is not installed.
    """
    for problem in (ENGINES.read({"engine": name}).problem() for name in ("faiss", *engines)):
        if problem is not None:
            raise UserError(problem)
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_embeddings(Path(folder), documents, dim, queries)
        _build({"engine": "faiss"}, EXHAUSTIVE, inputs)
        exact = _search({"engine": "faiss"}, EXHAUSTIVE, inputs, "exact")
        shutil.rmtree(inputs.index("faiss", EXHAUSTIVE))
        size = f"{documents:,} × {dim}, {queries:,} queries, nDCG@10 {exact.ndcg:.4f}"
        for name in engines:
            yield from _rows(name, inputs, exact, size)


def _rows(name: str, inputs: Inputs, exact: Searched, size: str) -> Iterator[Row]:
    settings = {"engine": name, **SETTINGS.get(name, {})}
    built = _build(settings, GRAPH, inputs)
    for candidates in CANDIDATES:
        searched = _search({**settings, CANDIDATES_FIELD[name]: candidates}, GRAPH, inputs, f"{name}-{candidates}")
        if searched.ndcg >= SHARE * exact.ndcg:
            break
    reached = f"{candidates} candidates reach {searched.ndcg / exact.ndcg:.2%} of it"
    if searched.ndcg < SHARE * exact.ndcg:
        reached += f", less than the {SHARE:.0%} that are compared"
    reference = f"exact search by faiss, {size}; {reached}"
    yield Row(f"engine_{name}_queries_per_second", searched.speed, exact.speed, None, "1/s", reference)
    copied = inputs.bytes / 2**20
    seconds = built["build_seconds"]
    yield Row(f"engine_{name}_build", seconds, len(inputs.sources) / 1000, None, "s", "a thousand documents per second")
    shutil.rmtree(inputs.index(name, GRAPH))
    sizes = {"build_memory": built["build_peak_bytes"], "memory": searched.memory, "disk": built["disk_bytes"]}
    for key, value in sizes.items():
        if value is not None:  # as memory is where the operating system does not tell
            yield Row(f"engine_{name}_{key}", value / 2**20, copied, None, "MiB", "the embeddings in float32")


def write_embeddings(folder: Path, documents: int, dim: int, queries: int) -> Inputs:
    """Write documents and queries of unit length, block by block, and return where they are.

    Args:
        folder: An empty folder.
        documents: Number of documents, at least COPIES per query.
        dim: Number of dimensions.
        queries: Number of queries.

    Raises:
        ValueError: For too few documents.
    """
    if documents < COPIES * queries:
        raise ValueError(
            f"{documents} documents do not hold {COPIES} copies for each of {queries} queries; take more documents"
        )
    rng = np.random.default_rng(0)
    scales = np.arange(1, INNER_DIM + 1, dtype=np.float32) ** -0.5
    projection = (rng.standard_normal((INNER_DIM, dim), dtype=np.float32).T * scales).T
    centres = rng.standard_normal((CENTRES, INNER_DIM), dtype=np.float32)

    def around(points: np.ndarray, noise: float) -> np.ndarray:
        return points + noise * rng.standard_normal(points.shape, dtype=np.float32)

    def projected(points: np.ndarray) -> np.ndarray:
        return unit_length(around(points @ projection, ROUGH))

    sources = np.full(documents, -1)
    sources[rng.choice(documents, COPIES * queries, replace=False)] = np.repeat(np.arange(queries), COPIES)
    originals = around(centres[rng.integers(CENTRES, size=queries)], SPREAD)
    inputs = Inputs(folder, folder / "documents.npy", folder / "queries.npy", sources, dim)
    np.save(inputs.queries, projected(around(originals, COPIED)))
    stored = np.lib.format.open_memmap(inputs.documents, mode="w+", dtype=np.float32, shape=(documents, dim))
    for first in range(0, documents, AT_ONCE):
        block = sources[first : first + AT_ONCE]
        points = around(centres[rng.integers(CENTRES, size=len(block))], SPREAD)
        points[block >= 0] = around(originals[block[block >= 0]], COPIED)
        stored[first : first + AT_ONCE] = projected(points)
    stored.flush()
    return inputs


def _build(config: Mapping[str, object], mode: str, inputs: Inputs) -> dict[str, Any]:
    vectors = {
        "stored": str(inputs.documents),
        "embeddings": str(inputs.documents),
        "count": len(inputs.sources),
        "dim": inputs.dim,
        "similarity": "cosine",
    }
    values = {**_common(config, mode, inputs), "vectors": vectors, "threads": THREADS}
    return request("build", values, inputs.folder / f"build-{config['engine']}-{mode}")


def _search(config: Mapping[str, object], mode: str, inputs: Inputs, name: str) -> Searched:
    values = {"queries": str(inputs.queries), "floats": None, "k": TOP_K, "threads": [1]}
    folder = inputs.folder / f"search-{name}"
    results = request("search", {**_common(config, mode, inputs), **values}, folder)
    ids = load_array(folder / IDS)
    queries = np.arange(len(ids))[:, None]
    gains = np.where(ids >= 0, inputs.sources[ids] == queries, False).astype(np.int64)
    ndcg = ranked.ndcg(gains, [[1] * COPIES] * len(ids), TOP_K).mean()
    return Searched(float(ndcg), results["timings"][0]["queries_per_second"], results["memory_bytes"])


def _common(config: Mapping[str, object], mode: str, inputs: Inputs) -> dict[str, Any]:
    engine = ENGINES.read(dict(config)).model_dump(mode="json")
    return {"engine": engine, "mode": mode, "folder": str(inputs.index(engine["engine"], mode))}
