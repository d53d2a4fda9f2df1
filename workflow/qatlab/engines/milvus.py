"""Milvus Lite in process, with its graphs and inverted lists of float32 vectors and of int8 codes.

The index is opened by the package's own classes, which the client `pymilvus` reaches through a server on loopback. qatlab does without
both: no port is opened, and `pymilvus`, whose import reads a file `.env` of the working directory, is not imported.

Facts about version 3.2.2, each of which a test checks:

* A collection stores vectors as float32 only; its types have neither int8 nor binary vectors. The codes of qatlab are therefore not
  among the modes.
* Its int8 codes (SQ8) are those of faiss, with one range per dimension, in a file beside the float32 vectors. There is no index that
  compares them exhaustively without lists; one list is used for that.
* A folder is open in one process at a time.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from qatlab.engines.engine import ENGINES, Engine, Mode, Opened, Snippet, Vectors, in_one_line
from qatlab.errors import UserError

if TYPE_CHECKING:
    import numpy as np

PACKAGE = "milvus-lite"
COLLECTION, ID, VECTOR = "documents", "id", "vector"
ROWS_AT_ONCE = 1000
FEWEST_PER_LIST = 39  # documents per inverted list below which faiss warns about its k-means

INDEX_TYPES = {
    Mode("float32"): "FLAT",
    Mode("float32", index="hnsw"): "HNSW",
    Mode("float32", index="ivf"): "IVF_FLAT",
    Mode("int8", "engine"): "IVF_SQ8",
    Mode("int8", "engine", "hnsw"): "HNSW_SQ",
    Mode("int8", "engine", "ivf"): "IVF_SQ8",
}


@ENGINES.register("milvus")
class MilvusEngine(Engine):
    """Milvus Lite, the embedded edition of Milvus; it needs the extra `engines`. It runs in process, without a server."""

    PACKAGES: ClassVar[tuple[str, ...]] = (PACKAGE,)
    MODES: ClassVar[tuple[Mode, ...]] = tuple(INDEX_TYPES)
    DEFAULTS: ClassVar[tuple[str, ...]] = ("float32_exact", "float32_hnsw", "int8_engine_exact", "int8_engine_hnsw")

    engine: Literal["milvus"] = "milvus"
    m: Annotated[int, Field(ge=2, le=512, description="Number of links per document of the graph (HNSW).")] = 16
    ef_construction: Annotated[
        int, Field(ge=4, le=10_000, description="Number of candidates per document while the graph is built.")
    ] = 200
    ef: Annotated[int, Field(ge=1, le=10_000, description="Number of candidates per query in the graph.")] = 128
    nlist: Annotated[int, Field(ge=1, le=65_536, description="Largest number of inverted lists (IVF).")] = 128
    nprobe: Annotated[
        int, Field(ge=1, le=65_536, description="Number of inverted lists that a query is compared with.")
    ] = 16

    def version(self) -> str:
        """Return the version of the package, such as 3.2.2."""
        return version(PACKAGE)

    def build(self, mode: Mode, vectors: Vectors, folder: Path, threads: int) -> None:
        """Write a collection with an index to an empty folder.

        Args:
            mode: The mode.
            vectors: The documents.
            folder: The folder.
            threads: Number of threads that train lists. Graphs are built in one thread, because links depend on the order in which
                documents are added.

        Raises:
            UserError: If the disk is full or the engine refuses.
        """
        threads = 1 if mode.index == "hnsw" else threads
        with (
            in_one_line("milvus", folder, "cannot build an index"),
            _limited_threads(threads),
            _database(folder) as database,
        ):
            from milvus_lite import CollectionSchema, DataType, FieldSchema

            fields = [
                FieldSchema(name=ID, dtype=DataType.INT64, is_primary=True),
                FieldSchema(name=VECTOR, dtype=DataType.FLOAT_VECTOR, dim=vectors.dim),
            ]
            collection = database.create_collection(COLLECTION, CollectionSchema(fields=fields))
            metric = "COSINE" if vectors.similarity == "cosine" else "IP"
            collection.create_index(VECTOR, self._index(mode, metric, vectors.count))
            # The engine's thread for maintenance would build the index too, and would log its errors rather than raise them.
            collection.release()
            first = 0
            for block in vectors.blocks():
                for start in range(0, len(block), ROWS_AT_ONCE):
                    rows = block[start : start + ROWS_AT_ONCE].tolist()
                    collection.insert([{ID: first + i, VECTOR: row} for i, row in enumerate(rows)])
                    first += len(rows)
            collection.flush()
            collection.load()

    @contextmanager
    def open(self, mode: Mode, folder: Path, threads: int) -> Iterator[Opened]:
        """Open a collection, whose folder no other process may open at the same time.

        Args:
            mode: The mode of the collection.
            folder: The folder that `build` wrote. The engine writes to some of its files.
            threads: Number of threads that search at once.

        Raises:
            UserError: If another process has opened the folder, or if the collection is damaged.
        """
        with _limited_threads(1), ExitStack() as stack:
            with in_one_line("milvus", folder, "cannot open the index"):
                if not (folder / "collections" / COLLECTION).is_dir():  # The engine would create an empty database.
                    raise UserError(
                        f"{folder} holds no collection of Milvus Lite; delete it, and build the index again"
                    )
                collection = stack.enter_context(_database(folder)).get_collection(COLLECTION)
                collection.load()
            yield OpenedMilvus(collection, self._search_params(mode))

    def _index(self, mode: Mode, metric: str, count: int) -> dict[str, Any]:
        """Return the engine's parameters of an index of `count` documents."""
        params = {}
        if mode.index == "hnsw":
            params = {"M": self.m, "efConstruction": self.ef_construction}
        elif mode.index == "ivf":
            params = {"nlist": max(1, min(self.nlist, count // FEWEST_PER_LIST))}
        elif mode.stored == "int8":
            params = {"nlist": 1}
        return {"index_type": INDEX_TYPES[mode], "metric_type": metric, "params": params}

    def _search_params(self, mode: Mode) -> dict[str, int]:
        by_index: dict[str, dict[str, int]] = {"hnsw": {"ef": self.ef}, "ivf": {"nprobe": self.nprobe}}
        return by_index.get(mode.index, {})

    def snippet(self, mode: Mode, similarity: Literal["cosine", "dot"]) -> Snippet | None:
        """Return code that keeps the collection in a temporary folder; None for inverted lists, whose number depends on the documents."""
        if mode.index == "ivf":
            return None
        index = self._index(mode, "COSINE" if similarity == "cosine" else "IP", 0)
        search = f", search_params={self._search_params(mode)}" if self._search_params(mode) else ""
        lines = (
            "database = MilvusLite(tempfile.mkdtemp())  # or an empty folder to keep",
            f'key = FieldSchema(name="{ID}", dtype=DataType.INT64, is_primary=True)',
            f'vector = FieldSchema(name="{VECTOR}", dtype=DataType.FLOAT_VECTOR, dim=stored.shape[1])',
            f'collection = database.create_collection("{COLLECTION}", CollectionSchema(fields=[key, vector]))',
            f'collection.create_index("{VECTOR}", {index})'.replace("'", '"'),
            "collection.release()",
            "for first in range(0, len(stored), 1000):",
            "    rows = enumerate(stored[first : first + 1000].tolist(), first)",
            f'    collection.insert([{{"{ID}": at, "{VECTOR}": row}} for at, row in rows])',
            "collection.flush()",
            "collection.load()",
            f"hits = [collection.search([query], top_k=10, output_fields=[]{search})[0] for query in searched]".replace(
                "'", '"'
            ),
            'ids = [[hit["id"] for hit in of_query] for of_query in hits]',
        )
        names = "CollectionSchema, DataType, FieldSchema, MilvusLite"
        return Snippet(("import tempfile", f"from milvus_lite import {names}"), lines)


class OpenedMilvus(Opened):
    """Open collection of Milvus Lite.

    Args:
        collection: The engine's collection, which is loaded.
        params: The engine's parameters of each search.
    """

    def __init__(self, collection: Any, params: dict[str, int]) -> None:
        self.collection, self.params = collection, params

    def search(self, query: "np.ndarray", k: int, floats: "np.ndarray | None" = None) -> "np.ndarray":
        """Return the ids of the k best documents, best first.

        Args:
            query: (dim,) float32.
            k: Number of documents.
            floats: Unused.

        Returns:
            (k,) int64, or fewer if the graph or the lists did not reach enough documents.
        """
        import numpy as np

        hits = self.collection.search([query], top_k=k, output_fields=[], search_params=self.params)[0]
        return np.array([hit["id"] for hit in hits], dtype=np.int64)

    def parameters(self) -> Mapping[str, str | int | float | bool]:
        """Return the numbers of documents and dimensions, the type of the stored vectors, and the index and its settings."""
        described = self.collection.describe()
        field = next(field for field in described["schema"]["fields"] if field["name"] == VECTOR)
        index = self.collection.get_index_info(VECTOR)
        return {
            "documents": described["num_entities"],
            "dim": field["dim"],
            "vectors": field["dtype"],
            "index_type": index["index_type"],
            "metric_type": index["metric_type"],
            **index["build_params"],
            **self.params,
        }


@contextmanager
def _database(folder: Path) -> Iterator[Any]:
    """Open the engine's database in a folder, without the tracebacks that it logs besides raising errors."""
    from milvus_lite import DataDirLockedError, MilvusLite

    logging.getLogger("milvus_lite").addHandler(logging.NullHandler())
    try:
        database = MilvusLite(str(folder))
    except DataDirLockedError:
        raise UserError(f"{folder} is open in another process; end that process, and start the command again") from None
    with database:
        yield database


@contextmanager
def _limited_threads(threads: int) -> Iterator[None]:
    """Limit the threads of faiss and NumPy, by which the engine computes, and restore their numbers."""
    import milvus_lite  # noqa: F401 (only libraries that are loaded are limited)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        yield
