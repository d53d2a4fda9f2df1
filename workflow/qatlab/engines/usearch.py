"""USearch as an engine: a graph in one file, with numbers of several widths."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from qatlab.engines.engine import ENGINES, GraphEngine, Mode, Opened, Snippet, Vectors
from qatlab.errors import UserError, full

if TYPE_CHECKING:
    import numpy as np

FILE = "index.usearch"
EF_SEARCH = 64  # USearch's default
DTYPES = {"float32": "f32", "float16": "f16", "int8": "i8", "bits": "b1"}


@ENGINES.register("usearch")
class USearchEngine(GraphEngine):
    """USearch, in the process that searches.

    It has one kind of index, a graph, which an exact search passes by. Its own int8 multiplies values by 127, so that embeddings of
    unit length, whose values are far below 1, take a part of the codes only. Its own bits are the signs, as those of qatlab are.
    """

    PACKAGES: ClassVar[tuple[str, ...]] = ("usearch",)
    MODES: ClassVar[tuple[Mode, ...]] = (
        Mode("float32"),
        Mode("float32", index="hnsw"),
        Mode("float16"),
        Mode("float16", index="hnsw"),
        Mode("int8", "engine"),
        Mode("int8", "engine", "hnsw"),
        Mode("int8", "qatlab"),
        Mode("int8", "qatlab", "hnsw"),
        Mode("bits", "engine"),
        Mode("bits", "engine", "hnsw"),
        Mode("bits", "qatlab"),
        Mode("bits", "qatlab", "hnsw"),
    )
    DEFAULTS: ClassVar[tuple[str, ...]] = (
        "float32_exact",
        "float32_hnsw",
        "float16_exact",
        "int8_engine_exact",
        "int8_qatlab_exact",
        "int8_qatlab_hnsw",
        "bits_engine_exact",
        "bits_qatlab_exact",
    )

    engine: Literal["usearch"] = "usearch"
    ef_search: Annotated[
        int, Field(gt=0, description="hnsw: number of candidates that a search considers; USearch's expansion_search.")
    ] = EF_SEARCH

    def version(self) -> str:
        """Return the version of USearch."""
        import usearch

        version: str = usearch.__version__
        return version

    def build(self, mode: Mode, vectors: Vectors, folder: Path, threads: int) -> None:
        """Write the index to one file. The graph is built in `build_threads` threads, because links depend on the order of documents.

        Raises:
            UserError: For bits whose number is not a multiple of 8, and a full disk.
        """
        import numpy as np
        from usearch.index import Index

        if mode.stored == "bits" and vectors.dim % 8:
            raise UserError(
                f"evaluate.engines: usearch stores bits in whole bytes, not {vectors.dim} bits; leave {mode.name} out"
            )
        index = Index(ndim=vectors.dim, metric=_metric(mode, vectors), dtype=DTYPES[mode.stored])
        first = 0
        for block in vectors.blocks():
            keys = np.arange(first, first + len(block), dtype=np.uint64)
            index.add(keys, np.ascontiguousarray(_rows(mode, block)), threads=self.build_threads)
            first += len(block)
        try:
            index.save(folder / FILE)
        except (RuntimeError, OSError) as error:
            line = full(error, folder) or UserError(f"usearch cannot write {folder / FILE}: {error}")
            raise line from None

    @contextmanager
    def open(self, mode: Mode, folder: Path, threads: int) -> Iterator[Opened]:
        """Read the index into memory; raise UserError for a file that USearch cannot read."""
        from usearch.index import Index

        try:
            index = Index.restore(folder / FILE)
        except (RuntimeError, OSError, ValueError):
            index = None
        if index is None:
            raise UserError(
                f"{folder / FILE} is not an index that usearch {self.version()} can read; delete it, and build it again"
            )
        index.expansion_search = self.ef_search
        try:
            yield _OpenIndex(index, mode)
        finally:
            index.reset()

    def snippet(self, mode: Mode, similarity: Literal["cosine", "dot"]) -> Snippet:
        """Return code that keeps the index in memory."""
        imports = ["import numpy as np", "from usearch.index import Index"]
        dim, metric = "stored.shape[1]", "cos" if similarity == "cosine" and mode.quantizer != "qatlab" else "ip"
        lines = []
        if mode.stored == "bits":
            dim, metric = "8 * stored.shape[1]", "hamming"
            if mode.quantizer == "engine":
                lines.append("stored, searched = np.packbits(stored > 0, axis=1), np.packbits(searched > 0, axis=1)")
        expansion = (
            f", expansion_search={self.ef_search}" if mode.index == "hnsw" and self.ef_search != EF_SEARCH else ""
        )
        exact = ", exact=True" if mode.index == "exact" else ""
        lines += [
            f'index = Index(ndim={dim}, metric="{metric}", dtype="{DTYPES[mode.stored]}"{expansion})',
            "index.add(np.arange(len(stored)), stored)  # index.save(path) keeps it",
            f"ids = index.search(searched, 10{exact}).keys",
        ]
        return Snippet(tuple(imports), tuple(lines))


def _metric(mode: Mode, vectors: Vectors) -> Any:
    from usearch.index import MetricKind

    if mode.stored == "bits":
        return MetricKind.Hamming
    return MetricKind.Cos if vectors.similarity == "cosine" and mode.quantizer != "qatlab" else MetricKind.IP


def _rows(mode: Mode, block: "np.ndarray") -> "np.ndarray":
    """Return documents or queries as USearch takes them: bits of the engine's own are made from the signs of floats."""
    import numpy as np

    if mode.stored == "bits" and mode.quantizer == "engine":
        return np.packbits(block > 0, axis=1)
    return block


class _OpenIndex(Opened):
    def __init__(self, index: Any, mode: Mode) -> None:
        self.index, self.mode = index, mode

    def search(self, query: "np.ndarray", k: int, floats: "np.ndarray | None" = None) -> "np.ndarray":
        import numpy as np

        row = _rows(self.mode, query[None])[0]
        matches = self.index.search(np.ascontiguousarray(row), k, threads=1, exact=self.mode.index == "exact")
        return np.asarray(matches.keys).astype(np.int64)

    def parameters(self) -> dict[str, str | int | float | bool]:
        return {
            "metric": self.index.metric_kind.name,
            "dtype": self.index.dtype.name,
            "dimensions": self.index.ndim,
            "documents": len(self.index),
            "connectivity": self.index.connectivity,
            "expansion_add": self.index.expansion_add,
            "expansion_search": self.index.expansion_search,
            "hardware": str(self.index.hardware_acceleration),
            "exact": self.mode.index == "exact",
        }
