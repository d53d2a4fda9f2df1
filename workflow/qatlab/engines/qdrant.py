"""Qdrant in process: its embedded engine `qdrant-edge-py`, with its scalar, binary, product and rotated quantization.

Facts about version 0.9.0, each of which a test checks:

* Its scalar quantization to int8 rounds documents and queries to 128 levels on one range for all dimensions, so that dimensions with a
  small range lose most.
* Its binary quantization stores 1 where a value is above 0, as qatlab does.
* Exhaustive search (`exact`) compares the original vectors. Codes are compared exhaustively if their segment has a graph without edges
  (m = 0), which is how the exact modes of quantized documents are built.
* Vectors of the type uint8 are compared with a query that is converted to uint8, which truncates fractions and turns values below 0
  into 0. See `SHIFT` for how int8 codes of qatlab are compared nevertheless.
* An index has no lock: several processes can open it. A truncated file of original vectors is not noticed, and searches find nothing.
* Files are written through memory maps, so that a disk that becomes full ends the process by SIGBUS instead of an error. `build`
  therefore requires generous free space before it starts.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from qatlab.engines.engine import ENGINES, Engine, IndexKind, Mode, Opened, Snippet, Vectors, in_one_line
from qatlab.errors import UserError

if TYPE_CHECKING:
    import numpy as np

PACKAGE = "qdrant-edge-py"
CONFIG = "edge_config.json"  # the engine's file of settings
SMALLEST = 1  # KiB of vectors from which the engine quantizes and links documents; 0 would switch both off
LARGEST = 1 << 40  # KiB; one segment holds all documents
POINTS_AT_ONCE = 1000
MIB = 1 << 20
COPIES, PER_DOCUMENT, FIXED = 4, 300, 8 * MIB  # copies of the vectors, and bytes, that a build may need on the disk

# How int8 codes of qatlab are stored as uint8, so that the engine's inner product ranks documents as c·w does (codes c, weighted query w):
# the engine compares u = c + 128 with w + 128, and (c + 128)·(w + 128) = c·w + 128·Σu + a constant of the query. Each document therefore
# has further dimensions, whose values add up to max(Σu) − Σu, and the query has 128 there: the sum no longer depends on the document.
SHIFT = 128
LEVELS = 255

EXACT: Literal["exact"] = "exact"
GRAPH: Literal["hnsw"] = "hnsw"
REPEATED = (
    "vectors.hnsw_config",
    "quantizer.vector_parameters",
)  # settings that the engine reports under other names too


def _modes() -> tuple[Mode, ...]:
    kinds: tuple[IndexKind, ...] = (EXACT, GRAPH)
    quantized = [
        Mode(stored, "engine", index, rescoring)
        for stored in ("int8", "bits", "rotated", "pq")
        for index in kinds
        for rescoring in ("none", "float32")
    ]
    return (
        Mode("float32"),
        Mode("float32", index="hnsw"),
        Mode("float16"),
        Mode("float16", index="hnsw"),
        *quantized,
        Mode("int8", "qatlab"),
        Mode("bits", "qatlab"),
        Mode("bits", "qatlab", "hnsw"),
    )


@ENGINES.register("qdrant")
class QdrantEngine(Engine):
    """Qdrant's embedded engine; it needs the extra `engines`. It runs in process, without a server.

    Engine's quantizers keep the float32 embeddings beside the codes. int8 codes of qatlab are stored as uint8, with a few dimensions more
    than the embeddings have, and are searched exhaustively only. Bits of qatlab are the codes of the engine's binary quantizer; beside
    them the engine stores one byte per bit on disk.
    """

    PACKAGES: ClassVar[tuple[str, ...]] = (PACKAGE,)
    MODES: ClassVar[tuple[Mode, ...]] = _modes()
    DEFAULTS: ClassVar[tuple[str, ...] | None] = (
        "float32_exact",
        "float32_hnsw",
        "int8_engine_exact",
        "int8_engine_hnsw",
        "int8_engine_hnsw_float32",
        "int8_qatlab_exact",
        "bits_engine_exact",
        "bits_engine_exact_float32",
        "bits_qatlab_exact",
        "rotated_engine_exact",
        "rotated_engine_hnsw_float32",
    )

    engine: Literal["qdrant"] = "qdrant"
    m: Annotated[int, Field(ge=2, le=512, description="Number of links per document of the graph (HNSW).")] = 16
    ef_construct: Annotated[
        int, Field(ge=4, le=10_000, description="Number of candidates per document while the graph is built.")
    ] = 100
    ef: Annotated[int, Field(ge=1, le=10_000, description="Number of candidates per query in the graph.")] = 128
    oversampling: Annotated[
        float,
        Field(ge=1, le=100, description="Number of candidates per requested document that float32 rescoring reads."),
    ] = 3.0
    quantile: Annotated[
        float | None,
        Field(
            ge=0.5, le=1, description="Fraction of values inside the range of int8; null is the range of all values."
        ),
    ] = None
    query_bits: Annotated[
        Literal[1, 4, 8], Field(description="Number of bits per dimension of a query that is compared with bits.")
    ] = 1
    rotated_bits: Annotated[
        Literal[1, 2, 4, 8], Field(description="Number of bits per dimension of the rotated quantization (TurboQuant).")
    ] = 4
    compression: Annotated[
        Literal[4, 8, 16, 32, 64], Field(description="Factor by which product quantization shrinks float32.")
    ] = 16

    def reproducible(self, mode: Mode) -> bool:
        """Return whether building the mode's index twice gives the same search results.

        Graphs differ from build to build, even in one thread. For product quantization, it is unknown at more than 2,000 documents.
        """
        return mode.index == EXACT and mode.stored != "pq"

    def version(self) -> str:
        """Return the version of the package, such as 0.9.0."""
        return version(PACKAGE)

    def build(self, mode: Mode, vectors: Vectors, folder: Path, threads: int) -> None:
        """Write a shard of one segment to an empty folder.

        Args:
            mode: The mode.
            vectors: The documents. `blocks` is read twice for int8 codes of qatlab.
            folder: The folder.
            threads: Number of threads that link documents.

        Raises:
            UserError: If the disk is full, if the engine refuses, or if it neither quantizes nor links the documents because they are
                too few.
        """
        import qdrant_edge

        largest, smallest = _sums(vectors) if (mode.stored, mode.quantizer) == ("int8", "qatlab") else (0, 0)
        size = vectors.dim + -((smallest - largest) // LEVELS)
        cosine = vectors.similarity == "cosine" and mode.quantizer != "qatlab"
        _require_space(folder, vectors.count, size)
        with in_one_line("qdrant", folder, "cannot build an index"):
            shard = qdrant_edge.EdgeShard.create(str(folder), self._config(mode, size, cosine, threads))
            try:
                first = 0
                for block in vectors.blocks():
                    for rows in _as_stored(mode, block, vectors.dim, size, largest):
                        points = [qdrant_edge.Point(first + i, row) for i, row in enumerate(rows.tolist())]
                        shard.update(qdrant_edge.UpdateOperation.upsert_points(points))
                        first += len(points)
                shard.optimize()
                shard.flush()
                indexed = shard.info().indexed_vectors_count
            finally:
                shard.close()
        if indexed < vectors.count and (mode.index == GRAPH or _quantized(mode)):
            raise UserError(
                f"qdrant: the mode {mode.name} needs more than {vectors.count} documents of {vectors.dim} dimensions, because Qdrant "
                f"neither quantizes nor links less than {SMALLEST} KiB; choose the mode float32_exact, or add documents"
            )

    @contextmanager
    def open(self, mode: Mode, folder: Path, threads: int) -> Iterator[Opened]:
        """Open a shard.

        Args:
            mode: The mode of the shard.
            folder: The folder that `build` wrote. The engine writes to some of its files when it opens them.
            threads: Number of threads that search at once.

        Raises:
            UserError: If the shard is damaged, or of a later version of the engine.
        """
        import qdrant_edge

        with in_one_line("qdrant", folder, "cannot open the index"):
            stored = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["vectors"][""]
            size, cosine = stored["size"], stored["distance"] == "Cosine"
            shard = qdrant_edge.EdgeShard.load(str(folder), self._config(mode, size, cosine, threads))
            if not _holds_last(shard):
                shard.close()
                raise UserError(f"{folder} holds a damaged index of Qdrant; delete it, and build the index again")
        try:
            yield OpenedQdrant(shard, mode, folder, size, self._search_params(mode))
        finally:
            shard.close()

    def snippet(self, mode: Mode, similarity: Literal["cosine", "dot"]) -> Snippet | None:
        """Return code that keeps the shard in a temporary folder; None but for float32, and bits of qatlab."""
        bits = mode.stored == "bits" and mode.quantizer == "qatlab"
        if mode.stored != "float32" and not bits:
            return None
        lines, quantization, graph = [], "", mode.index == GRAPH
        distance = "Cosine" if similarity == "cosine" and not bits else "Dot"
        if bits:
            lines = [
                f"stored, searched = (np.unpackbits(side, axis=1) * np.float32({LEVELS}) for side in (stored, searched))",
                "binary = edge.BinaryQuantizationConfig(query_encoding=edge.BinaryQuantizationQueryEncoding.Binary)",
            ]
            quantization = ", datatype=edge.VectorStorageDatatype.Uint8, quantization_config=binary"
        links = f"m={self.m if graph else 0}, ef_construct={self.ef_construct}, full_scan_threshold={SMALLEST}"
        sizes = f"default_segment_number=1, indexing_threshold={SMALLEST}, max_segment_size={LARGEST}"
        options = ["quantization=edge.QuantizationSearchParams(rescore=False)"] if bits else []
        options += [f"hnsw_ef={self.ef}"] if graph else [] if bits else ["exact=True"]
        lines += [
            f"graph = edge.HnswIndexConfig({links})",
            f"vectors = edge.EdgeVectorParams(size=stored.shape[1], distance=edge.Distance.{distance}{quantization}, hnsw_config=graph)",
            f"segments = edge.EdgeOptimizersConfig({sizes})",
            "config = edge.EdgeConfig(vectors=vectors, optimizers=segments)",
            "shard = edge.EdgeShard.create(tempfile.mkdtemp(), config)  # or an empty folder to keep",
            "points = [edge.Point(at, row) for at, row in enumerate(stored.tolist())]",
            "shard.update(edge.UpdateOperation.upsert_points(points))",
            "shard.optimize()",
            f"params = edge.SearchParams({', '.join(options)})",
            "nearest = [edge.Query.Nearest(query) for query in searched.tolist()]",
            "requests = [edge.SearchRequest(query=query, limit=10, params=params) for query in nearest]",
            "ids = [[point.id for point in shard.search(request)] for request in requests]",
        ]
        return Snippet(
            ("import tempfile", *(["import numpy as np"] if bits else []), "import qdrant_edge as edge"), tuple(lines)
        )

    def _config(self, mode: Mode, size: int, cosine: bool, threads: int) -> Any:
        """Return the engine's configuration of a shard with vectors of `size` dimensions, which are compared by cosine or product."""
        import qdrant_edge as edge

        types = edge.VectorStorageDatatype
        by_mode = {"float16": types.Float16} if mode.quantizer == "none" else {}
        datatype = types.Uint8 if mode.quantizer == "qatlab" else by_mode.get(mode.stored, types.Float32)
        only_codes = _quantized(mode) and mode.rescoring == "none"
        graph = edge.HnswIndexConfig(
            m=self.m if mode.index == GRAPH else 0,
            ef_construct=self.ef_construct,
            full_scan_threshold=SMALLEST,
            max_indexing_threads=threads,
        )
        vectors = edge.EdgeVectorParams(
            size=size,
            distance=edge.Distance.Cosine if cosine else edge.Distance.Dot,
            datatype=datatype,
            quantization_config=self._quantization(mode) if _quantized(mode) else None,
            hnsw_config=graph,
            memory=edge.Memory.Cold if only_codes else edge.Memory.Cached,
        )
        return edge.EdgeConfig(
            vectors=vectors,
            optimizers=edge.EdgeOptimizersConfig(
                default_segment_number=1, indexing_threshold=SMALLEST, max_segment_size=LARGEST
            ),
            max_search_threads=threads,
            wal_enabled=False,  # The log of updates takes 64 MiB; an index that was not completed is built again.
        )

    def _quantization(self, mode: Mode) -> Any:
        import qdrant_edge as edge

        pinned = edge.Memory.Pinned
        if mode.stored == "int8":
            return edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8, quantile=self.quantile, memory=pinned)
        if mode.stored == "bits":
            encodings = edge.BinaryQuantizationQueryEncoding
            bits = 1 if mode.quantizer == "qatlab" else self.query_bits
            encoding = {1: encodings.Binary, 4: encodings.Scalar4Bits, 8: encodings.Scalar8Bits}[bits]
            return edge.BinaryQuantizationConfig(query_encoding=encoding, memory=pinned)
        if mode.stored == "rotated":
            sizes = edge.TurboQuantBitSize
            bit_size = {1: sizes.Bits1, 2: sizes.Bits2, 4: sizes.Bits4, 8: sizes.Bits8}[self.rotated_bits]
            return edge.TurboQuantQuantizationConfig(bits=bit_size, memory=pinned)
        ratio = getattr(edge.CompressionRatio, f"X{self.compression}")
        return edge.ProductQuantizationConfig(compression=ratio, memory=pinned)

    def _search_params(self, mode: Mode) -> Any:
        import qdrant_edge as edge

        rescore = mode.rescoring != "none"
        quantization = edge.QuantizationSearchParams(
            rescore=rescore, oversampling=self.oversampling if rescore else None
        )
        return edge.SearchParams(
            hnsw_ef=self.ef if mode.index == GRAPH else None,
            exact=mode.index == EXACT and not _quantized(mode),
            quantization=quantization if _quantized(mode) else None,
        )


class OpenedQdrant(Opened):
    """Open shard of Qdrant.

    Args:
        shard: The engine's shard.
        mode: Its mode.
        folder: Its folder.
        size: Number of dimensions of the stored vectors.
        params: The engine's parameters of each search.
    """

    def __init__(self, shard: Any, mode: Mode, folder: Path, size: int, params: Any) -> None:
        self.shard, self.mode, self.folder, self.size, self.params = shard, mode, folder, size, params

    def search(self, query: "np.ndarray", k: int, floats: "np.ndarray | None" = None) -> "np.ndarray":
        """Return the ids of the k best documents, best first.

        Args:
            query: (dim,) float32; (dim,) int8 for int8 codes of qatlab; (ceil(dim / 8),) uint8 for bits of qatlab.
            k: Number of documents.
            floats: Unused.

        Returns:
            (k,) int64, or fewer if the graph did not reach enough documents.
        """
        import numpy as np
        import qdrant_edge as edge

        values = query
        if self.mode.quantizer == "qatlab" and self.mode.stored == "int8":
            values = np.full(self.size, SHIFT, dtype=np.float32)
            values[: len(query)] = query.astype(np.float32) + SHIFT
        elif self.mode.quantizer == "qatlab":
            values = np.unpackbits(query, count=self.size) * np.float32(LEVELS)
        request = edge.SearchRequest(query=edge.Query.Nearest(values.tolist()), limit=k, params=self.params)
        return np.array([point.id for point in self.shard.search(request)], dtype=np.int64)

    def parameters(self) -> Mapping[str, str | int | float | bool]:
        """Return the numbers of documents and segments, and what the engine's own files state about vectors, graph and quantizer."""
        info = self.shard.info()
        reported: dict[str, str | int | float | bool] = {
            "documents": info.points_count,
            "indexed": info.indexed_vectors_count,
            "segments": info.segments_count,
        }
        segment = max((self.folder / "segments").iterdir(), key=_documents)
        sources = {
            "vectors": self.folder / CONFIG,
            "graph": segment / "vector_index" / "hnsw_config.json",
            "quantizer": segment / "vector_storage" / "quantized.meta.json",
        }
        for name, path in sources.items():
            if path.exists():
                values = json.loads(path.read_text(encoding="utf-8"))
                reported |= dict(_flat(values["vectors"][""] if name == "vectors" else values, name))
        for name in [name for name in reported if name.startswith(REPEATED)]:
            del reported[name]
        reported["storage"] = (segment / "version.info").read_text(encoding="utf-8").strip()
        return reported


def _quantized(mode: Mode) -> bool:
    """Return whether the engine keeps codes beside vectors."""
    return mode.quantizer == "engine" or (mode.quantizer == "qatlab" and mode.stored == "bits")


def _holds_last(shard: Any) -> bool:
    """Return whether a shard has the vector of its last document, which it lacks if its file of vectors is truncated."""
    last = shard.info().points_count - 1
    points = shard.retrieve([last], with_payload=False, with_vector=True) if last >= 0 else []
    return bool(points and points[0].vector)


def _sums(vectors: Vectors) -> tuple[int, int]:
    """Return the largest and the smallest sum of the uint8 codes of a document."""
    sums = [block.astype("int64").sum(axis=1) + SHIFT * vectors.dim for block in vectors.blocks() if len(block)]
    return max(int(block.max()) for block in sums), min(int(block.min()) for block in sums)


def _as_stored(mode: Mode, block: "np.ndarray", dim: int, size: int, largest: int) -> "Iterator[np.ndarray]":
    """Yield the vectors that the engine receives for a block of documents, (n, size), at most POINTS_AT_ONCE at a time."""
    import numpy as np

    for first in range(0, len(block), POINTS_AT_ONCE):
        rows = block[first : first + POINTS_AT_ONCE]
        if mode.quantizer == "qatlab" and mode.stored == "int8":
            codes = rows.astype(np.int64) + SHIFT
            lacking = (largest - codes.sum(axis=1))[:, None] - LEVELS * np.arange(size - dim)
            yield np.hstack([codes, np.clip(lacking, 0, LEVELS)]).astype(np.float32)
        elif mode.quantizer == "qatlab":
            # The engine's bit of a uint8 value is 1 in the upper half of the values.
            yield np.unpackbits(rows, axis=1, count=dim) * np.float32(LEVELS)
        else:
            yield rows


def _documents(segment: Path) -> int:
    path = segment / "id_tracker.mappings"  # in the segment that the engine has optimized
    return path.stat().st_size if path.exists() else 0


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str | int | float | bool]]:
    """Yield the plain values of nested dictionaries, by names that dots join."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}.{name}")
        elif isinstance(value, str | int | float | bool):
            yield f"{prefix}.{name}", value


def _require_space(folder: Path, count: int, size: int) -> None:
    """Raise a UserError unless the disk has space for `count` float32 vectors of `size` dimensions while they are indexed."""
    needed, free = count * (COPIES * 4 * size + PER_DOCUMENT) + FIXED, shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"no space is left on the disk of {folder}: Qdrant needs {needed // MIB} MiB to build the index, and {free // MIB} MiB are "
            "free; free some space, and start the command again"
        )
