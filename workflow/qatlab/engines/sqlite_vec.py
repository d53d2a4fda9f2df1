"""sqlite-vec, an extension of SQLite that compares a query with every document; the index is one database file."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from qatlab.engines.engine import ENGINES, Engine, Mode, Opened, Snippet, Vectors
from qatlab.errors import UserError

if TYPE_CHECKING:
    import apsw
    import numpy as np

DATABASE = "documents.sqlite"
MOST_NEIGHBOURS = 4096  # sqlite-vec's limit for one query of a table vec0
ELEMENTS = {"float32": "float", "int8": "int8", "bits": "bit"}  # types of columns of tables vec0
TYPES = {"float32": "vec_f32(?)", "int8": "vec_int8(?)", "bits": "vec_bit(?)"}  # bytes with a type
QUANTIZERS = {"int8": "vec_quantize_int8(vec_f32(?), 'unit')", "bits": "vec_quantize_binary(vec_f32(?))"}


@ENGINES.register("sqlite_vec")
class SqliteVec(Engine):
    """sqlite-vec: exhaustive search of float32, int8 or bits in one file.

    sqlite-vec offers the L2, L1 and cosine distances for floats and int8, and the Hamming distance for bits, but not the inner
    product. Documents are ranked by inner product through an exact equivalent, 2·q·x − |q|² = |x|² − L2(q, x)², in an ordinary
    table that stores |x|² beside each document, because tables `vec0` order by their distance alone. sqlite-vec returns L2 as float32:
    inner products of int8 codes are exact where L2² is below 2²², and have a relative error of 10⁻⁷ above.

    sqlite-vec's own int8 quantizer, `vec_quantize_int8(…, 'unit')`, has one fixed grid of 256 codes from -1 to 1, and rounds toward
    zero: it maps all values from -.0039 to .0118 to 0. Embeddings of length 1 in many dimensions use a few dozen of its codes.

    The package apsw brings the SQLite that is used, because the module `sqlite3` of many installations of Python cannot load
    extensions.
    """

    PACKAGES: ClassVar[tuple[str, ...]] = ("sqlite-vec", "apsw")
    MODES: ClassVar[tuple[Mode, ...]] = (
        Mode("float32"),
        Mode("int8", "engine"),
        Mode("int8", "qatlab"),
        Mode("bits", "engine"),
        Mode("bits", "qatlab"),
        Mode("bits", "engine", rescoring="float32"),
        Mode("bits", "qatlab", rescoring="float32"),
    )
    # Without rescoring of sqlite-vec's own bits, which are those of qatlab: it takes a tenth of a second per query.
    DEFAULTS: ClassVar[tuple[str, ...]] = (
        "float32_exact",
        "int8_engine_exact",
        "int8_qatlab_exact",
        "bits_engine_exact",
        "bits_qatlab_exact",
        "bits_qatlab_exact_float32",
    )

    engine: Literal["sqlite_vec"] = "sqlite_vec"
    oversampling: Annotated[
        int,
        Field(
            gt=1,
            description="Number of documents that are scored again in float32, as a multiple of the number that is returned; "
            f"at most {MOST_NEIGHBOURS} documents are.",
        ),
    ] = 4

    def version(self) -> str:
        """Return the versions of sqlite-vec and of the SQLite that apsw brings."""
        import apsw

        return f"{version('sqlite-vec')} (SQLite {apsw.sqlite_lib_version()})"

    def build(self, mode: Mode, vectors: Vectors, folder: Path, threads: int) -> None:
        """Write a database with the table `documents`; SQLite writes with a single thread.

        Raises:
            UserError: if the disk is full, or sqlite-vec refuses the documents.
        """
        table = Table(mode, vectors.similarity, vectors.dim)
        with in_one_line(folder / DATABASE), connected(folder / DATABASE, writes=True) as connection:
            # A journal would protect nothing: the folder of an interrupted build is deleted.
            connection.execute("pragma journal_mode = off; pragma synchronous = off")
            connection.execute("create table settings (similarity text, dim integer)")
            connection.execute("insert into settings values (?, ?)", (vectors.similarity, vectors.dim))
            connection.execute(table.definition)
            with connection:
                connection.executemany(table.insertion, table.rows(connection, vectors))

    @contextmanager
    def open(self, mode: Mode, folder: Path, threads: int) -> Iterator[Opened]:
        """Open the database for reading; each thread that searches has a connection of its own.

        Raises:
            UserError: if another process has locked the file, or if it is not a database of qatlab.
        """
        opened = OpenedSqliteVec(mode, folder / DATABASE, self.oversampling)
        try:
            opened.parameters()
            yield opened
        finally:
            opened.close()

    def snippet(self, mode: Mode, similarity: Literal["cosine", "dot"]) -> Snippet | None:
        """Return code that keeps the database in memory; None for rescoring, and for int8 of sqlite-vec's own by inner product."""
        table = Table(mode, similarity, 0)
        if mode.rescoring != "none" or (table.by_product and mode.quantizer == "engine"):
            return None
        packed = mode.stored == "bits" and mode.quantizer == "qatlab"
        dim = f"{{{'8 * ' if packed else ''}stored.shape[1]}}"
        definition = table.definition.replace("[0]", f"[{dim}]")
        rows = "(at, row.tobytes()) for at, row in enumerate(stored)"
        lines = [
            'database = apsw.Connection(":memory:")  # or the path of a file',
            "database.enable_load_extension(True)",
            "database.load_extension(sqlite_vec.loadable_path())",
            f'database.execute({"" if table.by_product else "f"}"{definition}")',
        ]
        if table.by_product:
            lines.append('norms = (stored.astype("float64") ** 2).sum(axis=1).tolist()')
            rows = "(at, row.tobytes(), norm) for at, (row, norm) in enumerate(zip(stored, norms))"
        lines += [
            f'database.executemany("{table.insertion}", ({rows}))',
            f'best = "{table.selection}"',
            'results = [database.execute(best, {"code": query.tobytes(), "k": 10}) for query in searched]',
            "ids = [[row[0] for row in rows] for rows in results]",
        ]
        return Snippet(("import apsw", "import sqlite_vec"), tuple(lines))


@dataclass(frozen=True)
class Table:
    """Statements for the table of documents.

    Attributes:
        mode: Mode of the index.
        similarity: Similarity of float32 embeddings.
        dim: Number of dimensions.
    """

    mode: Mode
    similarity: str
    dim: int

    @property
    def by_product(self) -> bool:
        """Return whether the table is an ordinary one, from which documents are ranked by inner product."""
        of_codes = self.mode.stored == "int8" and self.mode.quantizer == "qatlab"
        return self.mode.stored != "bits" and (of_codes or self.similarity == "dot")

    @property
    def received(self) -> str:
        """Return the SQL expression that makes what the table stores of what the engine receives."""
        return QUANTIZERS[self.mode.stored] if self.mode.quantizer == "engine" else TYPES[self.mode.stored]

    @property
    def definition(self) -> str:
        """Return the statement that creates the table."""
        if self.by_product:
            return "create table documents (rowid integer primary key, embedding blob not null, norm real not null)"
        size = -(-self.dim // 8) * 8 if self.mode.stored == "bits" else self.dim
        metric = "" if self.mode.stored == "bits" else " distance_metric=cosine"
        columns = [f"embedding {ELEMENTS[self.mode.stored]}[{size}]{metric}"]
        if self.mode.rescoring == "float32":
            columns += [f"floats float[{self.dim}]", "+norm float"]
        return f"create virtual table documents using vec0({', '.join(columns)})"

    @property
    def insertion(self) -> str:
        """Return the statement that inserts a row of `rows`."""
        if self.by_product:
            return "insert into documents (rowid, embedding, norm) values (?, ?, ?)"
        if self.mode.rescoring == "float32":
            return f"insert into documents (rowid, embedding, floats, norm) values (?, {self.received}, ?, ?)"
        return f"insert into documents (rowid, embedding) values (?, {self.received})"

    @property
    def selection(self) -> str:
        """Return the query for the ids of the best documents, whose parameters are named code, floats, k and candidates."""
        code = self.received.replace("?", ":code")
        if self.by_product:
            stored = TYPES[self.mode.stored].replace("?", "embedding")
            square = f"pow(vec_distance_l2({stored}, {code}), 2)"
            if self.mode.stored == "int8":
                square = f"round({square})"  # The square of a distance between integers is an integer.
            return f"select rowid from documents order by norm - {square} desc, rowid limit :k"
        nearest = f"from documents where embedding match {code} and k = "
        if self.mode.rescoring == "none":
            return f"select rowid {nearest} :k order by distance"
        score = "vec_distance_cosine(floats, :floats)"
        if self.similarity == "dot":
            score = "pow(vec_distance_l2(floats, :floats), 2) - norm"
        candidates = f"candidates as materialized (select rowid as id, floats, norm {nearest} :candidates)"
        return f"with {candidates} select id from candidates order by {score}, id limit :k"

    def rows(self, connection: "apsw.Connection", vectors: Vectors) -> Iterator[tuple[Any, ...]]:
        """Yield the parameters of `insertion` for each document.

        Args:
            connection: A connection whose quantizer codes documents before their inner products are prepared.
            vectors: The documents.
        """
        import numpy as np

        floats: Iterator[np.ndarray] = vectors.floats() if self.mode.rescoring == "float32" else iter(())
        originals = (row for block in floats for row in np.ascontiguousarray(block, dtype=np.float32))
        for at, row in enumerate(row for block in vectors.blocks() for row in np.ascontiguousarray(block)):
            if self.by_product:
                code = row
                if self.mode.quantizer == "engine":
                    stored = connection.execute(f"select {self.received}", (row.tobytes(),)).get
                    code = np.frombuffer(stored, dtype=np.int8)
                yield at, code.tobytes(), _norm(code)
            elif self.mode.rescoring == "float32":
                original = next(originals)
                yield at, row.tobytes(), original.tobytes(), _norm(original)
            else:
                yield at, row.tobytes()


def _norm(row: "np.ndarray") -> float:
    exact = row.astype("float64")
    return float(exact @ exact)


class OpenedSqliteVec(Opened):
    """Open database.

    Args:
        mode: Mode of the index.
        path: The database.
        oversampling: Number of documents that are scored again, as a multiple of the number that is returned.

    Raises:
        UserError: if another process has locked the file, or if it is not a database of qatlab.
    """

    def __init__(self, mode: Mode, path: Path, oversampling: int) -> None:
        self.mode, self.path, self.oversampling = mode, path, oversampling
        self._own = threading.local()
        self._connections: list[Any] = []
        with in_one_line(path):
            similarity, dim = self._connection().execute("select similarity, dim from settings").get
        self.table = Table(mode, similarity, dim)
        self._selection = self.table.selection

    def search(self, query: "np.ndarray", k: int, floats: "np.ndarray | None" = None) -> "np.ndarray":
        """Return the ids of the k best documents, best first, as (k,) int64; fewer if the index has fewer.

        Raises:
            UserError: for more neighbours than sqlite-vec's limit, and if the file is locked in the meantime.
        """
        import numpy as np

        values: dict[str, object] = {"code": query.tobytes(), "k": k}
        if self.mode.rescoring == "float32":
            values["floats"] = np.ascontiguousarray(query if floats is None else floats, dtype=np.float32).tobytes()
            values["candidates"] = max(k, min(k * self.oversampling, MOST_NEIGHBOURS))
        with in_one_line(self.path):
            rows = self._connection().execute(self._selection, values).fetchall()
        return np.array([row[0] for row in rows], dtype=np.int64)

    def parameters(self) -> Mapping[str, str | int | float | bool]:
        """Return the definition of the table and the build of sqlite-vec, as SQLite reports them, and the query."""
        with in_one_line(self.path):
            query = self._connection().execute
            table = query("select sql from sqlite_master where name = 'documents'").get
            build = query("select vec_debug()").get
            page = query("pragma page_size").get
        reported = {
            "table": table,
            "query": self._selection,
            "sqlite_vec": " ".join(build.split()),
            "page_size": page,
        }
        return reported | ({"oversampling": self.oversampling} if self.mode.rescoring == "float32" else {})

    def close(self) -> None:
        """Close the connections of all threads."""
        while self._connections:
            self._connections.pop().close()

    def _connection(self) -> "apsw.Connection":
        if not hasattr(self._own, "connection"):
            self._own.connection = connect(self.path)
            self._connections.append(self._own.connection)
        connection: apsw.Connection = self._own.connection
        return connection


def connect(path: Path, writes: bool = False) -> "apsw.Connection":
    """Return a connection to a database with sqlite-vec.

    Args:
        path: The database.
        writes: Whether the database is created; otherwise it is opened for reading.
    """
    import apsw
    import sqlite_vec

    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE if writes else apsw.SQLITE_OPEN_READONLY
    connection = apsw.Connection(str(path), flags=flags)
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.enable_load_extension(False)
    return connection


@contextmanager
def connected(path: Path, writes: bool) -> "Iterator[apsw.Connection]":
    """Yield a connection as `connect` returns it, and close it at the end."""
    connection = connect(path, writes)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def in_one_line(path: Path) -> Iterator[None]:
    """Replace errors of SQLite by errors in one line.

    Raises:
        UserError: for every error of SQLite.
    """
    import apsw

    try:
        yield
    except apsw.FullError as error:
        raise UserError(
            f"sqlite_vec: no space is left on the disk of {path.parent}; free some space, and start the command again"
        ) from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise UserError(
            f"sqlite_vec: another process has locked the database {path}; end that process, and start the command again"
        ) from error
    except (apsw.NotADBError, apsw.CorruptError, apsw.CantOpenError) as error:
        raise UserError(
            f"sqlite_vec: {path} is not a database that can be read ({error}); delete the index, and build it again"
        ) from error
    except apsw.Error as error:
        raise UserError(f"sqlite_vec: SQLite refuses {path.name}: {' '.join(str(error).split())}") from error
