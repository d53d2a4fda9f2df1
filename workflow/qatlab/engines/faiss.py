"""faiss as an engine: indexes in files that one process loads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from qatlab.engines.engine import ENGINES, GraphEngine, Mode, Opened, Snippet, Vectors
from qatlab.errors import UserError, full

if TYPE_CHECKING:
    import numpy as np

FILE = "index.faiss"
NEIGHBOURS = 32  # documents that each document is linked to in a graph
EF_CONSTRUCTION = 40  # candidates that are considered while a graph is built
PROBES = 8  # inverted lists that are searched
PART = 8  # dimensions that share a byte of product quantization
CENTROIDS = 256
SEED = 0  # random seed that determines the rotation


@ENGINES.register("faiss")
class FaissEngine(GraphEngine):
    """faiss, in the process that searches.

    int8 codes of qatlab are stored by the quantizer `QT_8bit_direct_signed`, which compares them with float queries; queries that are
    weighted by the steps of the grid have integer values, and the sums of their products are exact below 2 ** 24.
    """

    PACKAGES: ClassVar[tuple[str, ...]] = ("faiss-cpu",)
    MODES: ClassVar[tuple[Mode, ...]] = (
        Mode("float32"),
        Mode("float32", index="hnsw"),
        Mode("float32", index="ivf"),
        Mode("float16"),
        Mode("int8", "engine"),
        Mode("int8", "engine", "hnsw"),
        Mode("int8", "qatlab"),
        Mode("int8", "qatlab", "hnsw"),
        Mode("bits", "qatlab"),
        Mode("bits", "qatlab", "hnsw"),
        Mode("rotated", "engine"),
        Mode("pq", "engine"),
    )
    DEFAULTS: ClassVar[tuple[str, ...]] = (
        "float32_exact",
        "float32_hnsw",
        "int8_engine_exact",
        "int8_qatlab_exact",
        "bits_qatlab_exact",
        "rotated_engine_exact",
    )

    engine: Literal["faiss"] = "faiss"
    ef_search: Annotated[
        int,
        Field(
            gt=0,
            description="hnsw: number of candidates that a search considers; at least the documents that are requested.",
        ),
    ] = 64

    def version(self) -> str:
        """Return the version of faiss."""
        import faiss

        version: str = faiss.__version__
        return version

    def build(self, mode: Mode, vectors: Vectors, folder: Path, threads: int) -> None:
        """Write the index to one file.

        Graphs are built in `build_threads` threads, because links depend on the order in which documents are added.

        Raises:
            UserError: For a product quantizer that has too few documents or does not fit the dimensions, bits whose number is not a
                multiple of 8, and a full disk.
        """
        import faiss
        import numpy as np

        index = _empty(mode, vectors)
        faiss.omp_set_num_threads(self.build_threads if mode.index == "hnsw" else 1 if mode.index == "ivf" else threads)
        if not index.is_trained:
            # Quantizers and lists are fitted on all documents: the engine's own quantizer sees what an import would show it.
            index.train(np.concatenate([block.astype(np.float32, copy=False) for block in vectors.blocks()]))
        for block in vectors.blocks():
            rows = block if mode.stored == "bits" else block.astype(np.float32, copy=False)
            index.add(np.ascontiguousarray(rows))
        _write(index, folder / FILE)

    @contextmanager
    def open(self, mode: Mode, folder: Path, threads: int) -> Iterator[Opened]:
        """Read the index into memory; raise UserError for a file that faiss cannot read."""
        import faiss

        read: Any = faiss.read_index_binary if mode.stored == "bits" else faiss.read_index
        try:
            index = read(os.fspath(folder / FILE))
        except RuntimeError:
            raise UserError(
                f"{folder / FILE} is not an index that faiss {self.version()} can read; delete it, and build it again"
            ) from None
        if mode.index == "ivf":
            index.nprobe = min(PROBES, index.nlist)
        yield _OpenIndex(index, mode, self.ef_search)

    def snippet(self, mode: Mode, similarity: Literal["cosine", "dot"]) -> Snippet | None:
        """Return code that keeps the index in memory; None for product quantization and rotated codes."""
        if mode.stored in ("pq", "rotated"):
            return None
        graph, lines = mode.index == "hnsw", [f"index = faiss.{_constructor(mode)}"]
        if graph and mode.stored != "bits":
            lines.append(f"index.hnsw.efConstruction = {EF_CONSTRUCTION}")
        if graph:
            lines.append(f"index.hnsw.efSearch = {self.ef_search}")
        if mode.stored == "int8" and mode.quantizer == "qatlab":  # whose integers faiss receives as floats
            lines.insert(0, 'stored, searched = stored.astype("float32"), searched.astype("float32")')
        if mode.index == "ivf" or (mode.stored == "int8" and mode.quantizer == "engine"):
            lines.append("index.train(stored)")
        if mode.index == "ivf":
            lines.append(f"index.nprobe = min({PROBES}, index.nlist)")
        lines += ["index.add(stored)", "ids = index.search(searched, 10)[1]"]
        return Snippet(("import faiss",), tuple(lines))


def _constructor(mode: Mode) -> str:
    """Return the call that makes an empty index of the array `stored`, without "faiss.", as Python code; see `_empty`."""
    graph, product = mode.index == "hnsw", "faiss.METRIC_INNER_PRODUCT"
    dim = "8 * stored.shape[1]" if mode.stored == "bits" else "stored.shape[1]"
    if mode.stored == "bits":
        return f"IndexBinaryHNSW({dim}, {NEIGHBOURS})" if graph else f"IndexBinaryFlat({dim})"
    if mode.index == "ivf":
        return f"IndexIVFFlat(faiss.IndexFlatIP({dim}), {dim}, max(1, round(len(stored) ** 0.5)), {product})"
    if mode.stored == "float32":
        return f"IndexHNSWFlat({dim}, {NEIGHBOURS}, {product})" if graph else f"IndexFlatIP({dim})"
    kinds = {"float16": "QT_fp16", "int8": "QT_8bit_direct_signed" if mode.quantizer == "qatlab" else "QT_8bit"}
    kind = f"faiss.ScalarQuantizer.{kinds[mode.stored]}"
    return (
        f"IndexHNSWSQ({dim}, {kind}, {NEIGHBOURS}, {product})"
        if graph
        else f"IndexScalarQuantizer({dim}, {kind}, {product})"
    )


def _write(index: Any, path: Path) -> None:
    """Write an index through a file of Python's: faiss's own only prints when the disk is full at the end, and leaves half a file.

    Raises:
        UserError: For a full disk.
    """
    import faiss

    library: Any = faiss  # whose stubs lack the writer
    errors: list[OSError] = []

    def write(data: bytes) -> None:
        try:
            if not errors:
                stream.write(data)
        except OSError as error:  # which faiss would turn into an error without a reason
            errors.append(error)

    save = faiss.write_index_binary if isinstance(index, faiss.IndexBinary) else faiss.write_index
    try:
        with path.open("wb") as stream:
            save(index, library.PyCallbackIOWriter(write))
    except OSError as error:
        errors.append(error)
    if errors:
        raise full(errors[0], path) or UserError(f"faiss cannot write {path}: {errors[0].strerror}") from None


def _empty(mode: Mode, vectors: Vectors) -> Any:
    import faiss

    dim, product = vectors.dim, faiss.METRIC_INNER_PRODUCT  # also for cosine, whose embeddings have unit length
    scalar = faiss.ScalarQuantizer
    if mode.stored == "bits":
        if dim % 8:
            raise UserError(
                f"evaluate.engines: faiss stores bits in whole bytes, not {dim} bits; leave {mode.name} out"
            )
        return faiss.IndexBinaryFlat(dim) if mode.index == "exact" else faiss.IndexBinaryHNSW(dim, NEIGHBOURS)
    if mode.stored == "rotated":
        bits = faiss.IndexRaBitQ(dim, product)
        bits.qb = 8
        rotation = faiss.RandomRotationMatrix(dim, dim)
        rotation.init(SEED)
        return faiss.IndexPreTransform(rotation, bits)
    if mode.stored == "pq":
        if dim % PART or vectors.count < CENTROIDS:
            raise UserError(
                f"evaluate.engines: faiss's product quantizer needs a multiple of {PART} dimensions and at least {CENTROIDS} "
                f"documents, not {dim} and {vectors.count}; leave {mode.name} out"
            )
        return faiss.IndexPQ(dim, dim // PART, 8, product)
    kinds: dict[str, Any] = {"float16": scalar.QT_fp16, "int8": scalar.QT_8bit}
    if mode.quantizer == "qatlab":
        kinds["int8"] = scalar.QT_8bit_direct_signed
    if mode.index == "hnsw":
        graph = (
            faiss.IndexHNSWFlat(dim, NEIGHBOURS, product)
            if mode.stored == "float32"
            else faiss.IndexHNSWSQ(dim, kinds[mode.stored], NEIGHBOURS, product)
        )
        graph.hnsw.efConstruction = EF_CONSTRUCTION
        return graph
    if mode.index == "ivf":
        return faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, max(1, round(vectors.count**0.5)), product)
    if mode.stored == "float32":
        return faiss.IndexFlatIP(dim)
    return faiss.IndexScalarQuantizer(dim, kinds[mode.stored], product)


class _OpenIndex(Opened):
    def __init__(self, index: Any, mode: Mode, ef_search: int) -> None:
        self.index, self.mode, self.ef_search = index, mode, ef_search

    def search(self, query: "np.ndarray", k: int, floats: "np.ndarray | None" = None) -> "np.ndarray":
        import faiss
        import numpy as np

        faiss.omp_set_num_threads(1)  # a setting of the calling thread
        if self.mode.index == "hnsw":
            self.index.hnsw.efSearch = max(self.ef_search, k)
        row = query[None] if self.mode.stored == "bits" else query[None].astype(np.float32)
        ids: np.ndarray = self.index.search(np.ascontiguousarray(row), k)[1][0]
        return ids[ids >= 0]

    def parameters(self) -> dict[str, str | int | float | bool]:
        import faiss

        index = self.index
        reported: dict[str, str | int | float | bool] = {
            "index": type(index).__name__,
            "metric": "hamming" if self.mode.stored == "bits" else _metric(index.metric_type),
            "dimensions": index.d,
            "documents": index.ntotal,
            "code_bytes": getattr(index, "code_size", 0) or getattr(getattr(index, "storage", None), "code_size", 0),
        }
        if self.mode.index == "hnsw":
            reported |= {
                "neighbours": index.hnsw.nb_neighbors(1),
                "ef_construction": index.hnsw.efConstruction,
                "ef_search": index.hnsw.efSearch,
            }
        if self.mode.index == "ivf":
            reported |= {"lists": index.nlist, "probes": index.nprobe}
        if self.mode.stored in ("int8", "float16"):
            storage: Any = faiss.downcast_index(index.storage) if self.mode.index == "hnsw" else index
            reported["quantizer"] = int(storage.sq.qtype)
        return {name: value for name, value in reported.items() if value != 0}


def _metric(number: int) -> str:
    import faiss

    return {faiss.METRIC_INNER_PRODUCT: "inner product", faiss.METRIC_L2: "L2"}.get(number, str(number))
