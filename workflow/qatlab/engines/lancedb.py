"""LanceDB, which keeps documents as columns of a table on disk and searches it within the process.

A search without an index reads the column and compares every document. Documents of equal distance come in the order of documents;
where not all of them belong to the best, an index returns any of them, and a search without an index the first ones.
LanceDB reports no usage and opens no connection for a local folder; its settings come from this module alone, not from the environment.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from qatlab.engines.engine import ENGINES, Engine, Mode, Opened, Snippet, Vectors
from qatlab.errors import UserError, full, printable

if TYPE_CHECKING:
    import numpy as np

TABLE, ID, VECTOR, FLOATS, INDEX = "documents", "id", "vector", "floats", "vector_index"
DISTANCE = "distance_type"  # key of the table's metadata
SETTINGS = ("LANCE_", "LANCEDB_")  # prefixes of the environment variables that change how LanceDB builds and searches
INT8_ENDS = (-128, 127)
CENTROIDS = 256  # per part of the dimensions that a product quantizer encodes
TRAINED_ON = 256  # LanceDB's own number of documents per list that k-means is fitted on
LONGEST_REASON = 200  # characters of a message of LanceDB


@ENGINES.register("lancedb")
class LanceDB(Engine):
    """LanceDB in process, in a folder on disk.

    Its quantizers are int8 (one range for all dimensions, values truncated), product quantization and RaBitQ (one bit per dimension
    after a random rotation). Rescoring reads the float32 embeddings of the best candidates from the table.

    LanceDB stores a column of int8 but does not search it: queries are float32, and a search refuses a query whose type is not that of
    the column. int8 codes of qatlab therefore pass through its int8 quantizer, which leaves them as they are if its range is that of
    int8: two further dimensions hold -128 and 127 in every document, and 0 in queries.

    Reference: https://docs.lancedb.com
    """

    PACKAGES: ClassVar[tuple[str, ...]] = ("lancedb",)
    MODES: ClassVar[tuple[Mode, ...]] = (
        Mode("float32"),
        Mode("float32", index="ivf"),
        Mode("float32", index="hnsw"),
        Mode("float16"),
        Mode("float16", index="ivf"),
        Mode("int8", "engine"),
        Mode("int8", "engine", rescoring="float32"),
        Mode("int8", "engine", "ivf"),
        Mode("int8", "engine", "ivf", "float32"),
        Mode("int8", "engine", "hnsw"),
        Mode("int8", "engine", "hnsw", "float32"),
        Mode("int8", "qatlab"),
        Mode("int8", "qatlab", rescoring="float32"),
        Mode("int8", "qatlab", "ivf"),
        Mode("int8", "qatlab", "hnsw"),
        Mode("int8", "qatlab", "hnsw", "float32"),
        Mode("pq", "engine"),
        Mode("pq", "engine", rescoring="float32"),
        Mode("pq", "engine", "ivf"),
        Mode("pq", "engine", "ivf", "float32"),
        Mode("rotated", "engine"),
        Mode("rotated", "engine", rescoring="float32"),
        Mode("rotated", "engine", "ivf"),
        Mode("rotated", "engine", "ivf", "float32"),
        Mode("bits", "qatlab"),
        Mode("bits", "qatlab", rescoring="float32"),
        Mode("bits", "qatlab", "ivf"),
        Mode("bits", "qatlab", "hnsw"),
    )
    DEFAULTS: ClassVar[tuple[str, ...] | None] = (
        "float32_exact",
        "int8_engine_exact",
        "int8_qatlab_exact",
        "int8_qatlab_hnsw_float32",
        "pq_engine_ivf_float32",
        "rotated_engine_exact",
        "rotated_engine_exact_float32",
        "bits_qatlab_exact",
    )
    REPRODUCIBLE: ClassVar[bool] = False

    engine: Literal["lancedb"] = "lancedb"
    m: Annotated[int, Field(ge=2, description="hnsw: number of neighbours that each document is linked to.")] = 20
    ef_construction: Annotated[
        int, Field(gt=0, description="hnsw: number of candidates that are considered while the graph is built.")
    ] = 300
    ef_search: Annotated[
        int,
        Field(
            gt=0,
            description="hnsw: number of candidates that a search considers; at least as many as documents are requested or rescored.",
        ),
    ] = 64
    lists: Annotated[
        int | None,
        Field(
            gt=0,
            description="ivf: number of clusters of documents; null is the square root of the number of documents.",
        ),
    ] = None
    probes: Annotated[int, Field(gt=0, description="ivf: number of clusters that a search visits.")] = 20
    code_bytes: Annotated[
        int | None,
        Field(
            gt=0,
            description="pq: bytes per document, a divisor of the number of dimensions; null leaves the choice to LanceDB, one byte per "
            "16 dimensions.",
        ),
    ] = None
    oversampling: Annotated[
        int,
        Field(
            gt=1,
            description="Number of candidates that are rescored, as a multiple of the documents that are requested.",
        ),
    ] = 4

    def reproducible(self, mode: Mode) -> bool:
        """Return whether building the mode's index twice gives the same results: if it has no k-means, graph or random rotation."""
        return mode.index == "exact" and (mode.quantizer != "engine" or mode.stored == "int8")

    def version(self) -> str:
        """Return the version of the package, which contains the engine and is imported."""
        imported: str = import_lancedb(None).__version__
        return imported

    def build(self, mode: Mode, vectors: Vectors, folder: Path, threads: int) -> None:
        """Write a table of the documents to the folder, and index it if the mode needs an index.

        Args:
            mode: One of MODES.
            vectors: The documents, which are written block by block.
            folder: An empty folder.
            threads: Number of threads, as in `import_lancedb`.

        Raises:
            UserError: If the disk is full, the documents are too few or their dimensions do not fit the quantizer, or LanceDB refuses.
        """
        self._check(mode, vectors)
        lancedb = import_lancedb(threads)
        try:
            table = lancedb.connect(str(folder.absolute())).create_table(
                TABLE, data=_batches(mode, vectors), schema=_schema(mode, vectors)
            )
            index = self._index(mode, vectors)
            if index is not None:
                table.create_index(VECTOR, config=index, name=INDEX)
        except Exception as error:  # LanceDB raises RuntimeError, ValueError and OSError
            raise full(error, folder) or UserError(
                f"lancedb cannot build {mode.name}: {_reason(error)}; leave the mode out of evaluate.engines"
            ) from error
        # LanceDB keeps an index that it had too few documents to fit, and then compares every document without a word.
        if index is not None and table.list_indices()[0].num_indexed_rows != vectors.count:
            raise UserError(
                f"lancedb did not index all {vectors.count} documents as {mode.name}; leave the mode out of evaluate.engines"
            )

    @contextmanager
    def open(self, mode: Mode, folder: Path, threads: int) -> Iterator[Opened]:
        """Open the table, and load its index into memory.

        Args:
            mode: The mode of the index.
            folder: The folder that `build` wrote.
            threads: Number of threads, as in `import_lancedb`.

        Raises:
            UserError: For files that are missing, cannot be read, or were written by a later version of LanceDB; for a table whose
                index was not completed.
        """
        lancedb = import_lancedb(threads)
        try:
            table = lancedb.connect(str(folder.absolute())).open_table(TABLE)
            table.search().select([ID]).limit(1).to_arrow()  # the table's description alone does not show missing files
            indexes = list(table.list_indices())
            if indexes:
                table.prewarm_index(INDEX)
        except Exception as error:
            raise UserError(
                f"lancedb cannot open {folder}: {_reason(error)}; delete it, and build the index again"
            ) from error
        complete = bool(indexes) and not indexes[0].num_unindexed_rows
        if complete != _has_index(mode):
            raise UserError(f"{folder} holds no complete index of {mode.name}; delete it, and build the index again")
        yield OpenedTable(table, mode, self)

    def snippet(self, mode: Mode, similarity: Literal["cosine", "dot"]) -> Snippet | None:
        """Return code that keeps the table in a temporary folder; None but for exact search of floats, int8 codes and bits of qatlab."""
        if mode.index != "exact" or mode.rescoring != "none" or mode.quantizer == "engine" or mode.stored == "float16":
            return None
        imports, lines, query = ["import tempfile", "import lancedb", "import pyarrow as pa"], [], "query"
        distance, index = "hamming" if mode.stored == "bits" else similarity, []
        if _is_grid(mode):
            imports += ["import numpy as np", "from lancedb.index import IvfSq"]
            ends = f"np.tile(np.float32({list(INT8_ENDS)}), (len(stored), 1))"
            lines = [f"stored = np.hstack([stored, {ends}])  # which let LanceDB's int8 keep the codes as they are"]
            index = ['table.create_index("vector", config=IvfSq(distance_type="dot", num_partitions=1))']
            query, distance = "np.append(query, [0, 0]).astype(np.float32)", "dot"
        lines += [
            "vectors = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), stored.shape[1])",
            'rows = pa.table({"id": range(len(stored)), "vector": vectors})',
            'table = lancedb.connect(tempfile.mkdtemp()).create_table("documents", data=rows)  # or a folder to keep',
            *index,
            f'searches = [table.search({query}).distance_type("{distance}").limit(10) for query in searched]',
            'ids = [search.select(["id", "_distance"]).to_arrow()["id"].to_pylist() for search in searches]',
        ]
        return Snippet(tuple(imports), tuple(lines))

    def _check(self, mode: Mode, vectors: Vectors) -> None:
        """Raise an error for documents that LanceDB would store without an index, or refuse."""
        if mode.stored == "pq":
            if vectors.count < CENTROIDS:
                raise UserError(
                    f"evaluate.engines: lancedb fits pq on at least {CENTROIDS} documents, and a task has {vectors.count}; leave "
                    f"{mode.name} out"
                )
            if self.code_bytes is not None and vectors.dim % self.code_bytes:
                raise UserError(
                    f"evaluate.engines: code_bytes {self.code_bytes} of lancedb does not divide {vectors.dim} dimensions; set a divisor of "
                    f"{vectors.dim}"
                )
        if mode.stored == "rotated" and vectors.dim % 8:
            raise UserError(
                f"evaluate.engines: RaBitQ of lancedb needs a multiple of 8 dimensions, and the embeddings have {vectors.dim}; leave "
                f"{mode.name} out"
            )

    def _index(self, mode: Mode, vectors: Vectors) -> Any:
        """Return LanceDB's configuration of the index, or None where every document is compared without one."""
        if not _has_index(mode):
            return None
        from lancedb import index

        lists = (self.lists or max(1, round(vectors.count**0.5))) if mode.index == "ivf" else 1
        # By default LanceDB makes no more lists than it has 256 documents for, whatever number is requested.
        sampled = max(1, min(TRAINED_ON, vectors.count // lists))
        common: dict[str, Any] = {
            "distance_type": _distance(mode, vectors),
            "num_partitions": lists,
            "sample_rate": sampled,
        }
        if mode.index == "hnsw":
            graph: dict[str, Any] = {"m": self.m, "ef_construction": self.ef_construction}
            return (index.HnswSq if mode.stored == "int8" else index.HnswFlat)(**common, **graph)
        if mode.stored == "pq":
            return index.IvfPq(**common, num_sub_vectors=self.code_bytes)
        if mode.stored == "rotated":
            return index.IvfRq(**common)
        return (index.IvfSq if mode.stored == "int8" else index.IvfFlat)(**common)


class OpenedTable(Opened):
    """An open table; LanceDB synchronizes searches by several threads itself.

    Args:
        table: LanceDB's table.
        mode: The mode of the index.
        engine: The engine, for the parameters of searches.
    """

    def __init__(self, table: Any, mode: Mode, engine: LanceDB) -> None:
        self.table, self.mode, self.engine = table, mode, engine
        self.distance = table.schema.metadata[DISTANCE.encode()].decode()

    def search(self, query: "np.ndarray", k: int, floats: "np.ndarray | None" = None) -> "np.ndarray":
        """Return the ids of the k best documents, best first.

        Args:
            query: (dim,) float32, (dim,) int8 beside int8 codes of qatlab, or (ceil(dim / 8),) uint8 beside bits of qatlab.
            k: Number of documents.
            floats: (dim,) float32, the query for rescoring codes of qatlab.

        Returns:
            (k,) int64, or fewer.

        Raises:
            UserError: If files of the table have gone.
        """
        if _is_grid(self.mode):
            query = _with_ends(query, (0, 0))
        try:
            if floats is None:
                # Without the distance among the selected columns, LanceDB warns of a future change.
                best: np.ndarray = self._query(query, k).select([ID, "_distance"]).to_arrow()[ID].to_numpy()
                return best
            selected = self._query(query, k * self.engine.oversampling).select([ID, FLOATS, "_distance"])
            candidates = selected.to_arrow()
        except Exception as error:
            raise UserError(
                f"lancedb cannot search {self.mode.name}: {_reason(error)}; delete the index, and build it again"
            ) from error
        return self._rescored(candidates, floats, k)

    def parameters(self) -> Mapping[str, str | int | float | bool]:
        """Return what LanceDB reports of the table and its index, and the parameters that it receives with each search."""
        indexes = list(self.table.list_indices())
        reported: dict[str, str | int | float | bool] = {
            "column": str(self.table.schema.field(VECTOR).type),
            "distance_type": self.distance,
            "index_type": indexes[0].index_type if indexes else "none",
        }
        if indexes:
            reported |= {"index_version": indexes[0].index_version, **_flat(indexes[0].index_details or {})}
            lists = re.search(r"partitions_ranked=(\d+)", self._probe().analyze_plan())
            reported |= {"num_partitions": int(lists[1])} if lists else {}
        return reported | self._settings(1)

    def _settings(self, k: int) -> dict[str, int]:
        """Return the parameters of a search for k documents, by LanceDB's names."""
        settings = {}
        if self.mode.index == "ivf":
            settings["nprobes"] = self.engine.probes
        rescored = self.mode.rescoring != "none" and self.mode.quantizer == "engine"
        if rescored:
            settings["refine_factor"] = self.engine.oversampling
        if self.mode.index == "hnsw":
            settings["ef"] = max(self.engine.ef_search, k * (self.engine.oversampling if rescored else 1))
        return settings

    def _query(self, query: "np.ndarray", k: int) -> Any:
        builder = self.table.search(query, vector_column_name=VECTOR).distance_type(self.distance).limit(k)
        for name, value in self._settings(k).items():
            builder = getattr(builder, name)(value)
        return builder

    def _rescored(self, candidates: Any, query: "np.ndarray", k: int) -> "np.ndarray":
        """Return the ids of the k candidates that are nearest to a float32 query; ties in the order of documents.

        LanceDB itself scores candidates again by the column that is indexed, but here that column holds codes. A second search among
        the candidates' ids would take three times as long.
        """
        import numpy as np

        ids: np.ndarray = candidates[ID].to_numpy()
        rows = candidates[FLOATS].combine_chunks().flatten().to_numpy().reshape(len(ids), -1).astype(np.float64)
        scores = rows @ query.astype(np.float64)
        if self._float_distance() == "cosine":
            lengths = np.linalg.norm(rows, axis=1)
            scores = scores / np.where(lengths > 0, lengths, 1)
        return ids[np.lexsort((ids, -scores))[:k]]

    def _probe(self) -> Any:
        import numpy as np

        kind = self.table.schema.field(VECTOR).type
        return self._query(np.ones(kind.list_size, dtype=np.uint8 if self.distance == "hamming" else np.float32), 1)

    def _float_distance(self) -> str:
        distance: str = self.table.schema.field(FLOATS).metadata[DISTANCE.encode()].decode()
        return distance


def import_lancedb(threads: int | None) -> ModuleType:
    """Import the package without settings from the environment.

    Variables of LanceDB are removed from the environment of this process, because the engine reads them whenever it needs them.

    Args:
        threads: Number of threads that compute. The engine starts them when it is first used, and keeps their number until the process
            ends. None leaves the number open.
    """
    own = {"LANCEDB_LOG": "error"}
    if threads is not None:
        own |= {"LANCE_CPU_THREADS": str(threads), "TOKIO_WORKER_THREADS": str(threads)}
    for name in [name for name in os.environ if name.startswith(SETTINGS) and name not in own]:
        del os.environ[name]
    os.environ |= own
    import lancedb

    module: ModuleType = lancedb
    return module


def _has_index(mode: Mode) -> bool:
    return mode.index != "exact" or mode.quantizer == "engine" or _is_grid(mode)


def _is_grid(mode: Mode) -> bool:
    """Return whether the documents are int8 codes of qatlab."""
    return (mode.stored, mode.quantizer) == ("int8", "qatlab")


def _distance(mode: Mode, vectors: Vectors) -> str:
    if mode.quantizer == "qatlab":
        return "dot" if _is_grid(mode) else "hamming"
    return vectors.similarity


def _with_ends(rows: "np.ndarray", ends: tuple[int, int]) -> "np.ndarray":
    """Return int8 codes or a query as floats, with two further dimensions.

    Args:
        rows: (…, dim) int8.
        ends: The values of the further dimensions.

    Returns:
        (…, dim + 2) float32.
    """
    import numpy as np

    further = np.broadcast_to(np.array(ends, dtype=np.float32), (*rows.shape[:-1], 2))
    return np.concatenate([rows.astype(np.float32), further], axis=-1)


def _schema(mode: Mode, vectors: Vectors) -> Any:
    import pyarrow as pa

    dim, kind = vectors.dim, pa.float16() if _is_halved(mode) else pa.float32()
    if mode.quantizer == "qatlab":
        dim, kind = (dim + 2, kind) if _is_grid(mode) else (-(-dim // 8), pa.uint8())
    fields = [pa.field(ID, pa.int64()), pa.field(VECTOR, pa.list_(kind, dim))]
    if _rescores_codes(mode):
        fields.append(pa.field(FLOATS, pa.list_(pa.float32(), vectors.dim), metadata={DISTANCE: vectors.similarity}))
    return pa.schema(fields, metadata={DISTANCE: _distance(mode, vectors)})


def _batches(mode: Mode, vectors: Vectors) -> "Iterator[Any]":
    """Yield the documents as Arrow's record batches, one per block."""
    import numpy as np
    import pyarrow as pa

    schema, first = _schema(mode, vectors), 0
    floats = _Rows(vectors.floats()) if _rescores_codes(mode) else None
    for block in vectors.blocks():
        rows = _with_ends(block, INT8_ENDS) if _is_grid(mode) else block
        columns = [rows.astype(np.float16) if _is_halved(mode) else rows]
        if floats is not None:
            columns.append(floats.next(len(block)))
        arrays = [pa.array(np.arange(first, first + len(block), dtype=np.int64))]
        for column in columns:
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), column.shape[1]))
        yield pa.record_batch(arrays, schema=schema)
        first += len(block)


class _Rows:
    """Rows of blocks in portions of other sizes, because embeddings and their codes may come in different blocks."""

    def __init__(self, blocks: "Iterator[np.ndarray]") -> None:
        self.blocks, self.left = blocks, next(blocks)

    def next(self, count: int) -> "np.ndarray":
        import numpy as np

        parts = [self.left]
        while sum(map(len, parts)) < count:
            parts.append(next(self.blocks))
        rows = np.concatenate(parts) if len(parts) > 1 else parts[0]
        self.left = rows[count:]
        return rows[:count]


def _is_halved(mode: Mode) -> bool:
    """Return whether the column is float16, which also holds the integers of int8 exactly."""
    return mode.stored == "float16" or _is_grid(mode)


def _rescores_codes(mode: Mode) -> bool:
    return mode.quantizer == "qatlab" and mode.rescoring == "float32"


def _flat(details: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Return nested settings as one level, with names such as hnsw.max_connections."""
    flat: dict[str, str | int | float | bool] = {}
    for name, value in sorted(details.items()):
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _reason(error: Exception) -> str:
    """Return the first line of LanceDB's message, without the place in its source."""
    text = re.sub(r",? ?/\S+\.rs:\d+:\d+.*", "", str(error).strip().partition("\n")[0]) or type(error).__name__
    return printable(text[:LONGEST_REASON])
