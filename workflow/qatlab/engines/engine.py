"""Base class and registry of vector search engines, what the stage `engine` gives them and receives from them, and index folders.

The stage calls `write_index` and `open_index`, which add to an engine's own files a manifest that says what they are, so that
nothing half-built and nothing of another version is searched.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import AfterValidator, Field, field_validator

from qatlab.artifact import read_json, write_json, written_aside
from qatlab.errors import UserError, full, printable, unknown
from qatlab.registry import Registry, Strict

if TYPE_CHECKING:
    import numpy as np

Stored = Literal["float32", "float16", "int8", "bits", "pq", "rotated"]
Quantizer = Literal["none", "engine", "qatlab"]
IndexKind = Literal["exact", "hnsw", "ivf"]
OVERLAP = "overlap@10"  # share of the 10 best documents of the exact float search that are among the engine's 10 best

# Exact searches of qatlab, by the names that tables show:
# * float32: float32 embeddings.
# * int8: int8 codes on the grid, compared with weighted int8 queries (see `queries_for_codes`), as engines compare them.
# * float32_x_int8: the values that the same codes stand for, compared with float32 queries.
# * bits: bits, compared by Hamming distance.
Reference = Literal["float32", "int8", "float32_x_int8", "bits"]


@dataclass(frozen=True)
class Mode:
    """One way in which an engine stores and searches documents.

    Attributes:
        stored: What the engine's index stores of each document: floats, int8 codes, bits, codes of product quantization (pq), or codes
            of a quantizer that rotates embeddings first (rotated).
        quantizer: Who makes the codes: the engine from float32 embeddings, or qatlab on the grid that the model was trained for;
            `none` for floats.
        index: exact (every document is compared), hnsw (graph) or ivf (inverted lists).
        rescoring: Precision of the documents with which the engine scores its best candidates again.
    """

    stored: Stored
    quantizer: Quantizer = "none"
    index: IndexKind = "exact"
    rescoring: Literal["none", "float32", "int8"] = "none"

    @property
    def name(self) -> str:
        """Return the name in configurations and tables, such as float32_exact, int8_qatlab_hnsw or bits_engine_exact_float32."""
        parts = (self.stored, self.quantizer, self.index, self.rescoring)
        return "_".join(part for part in parts if part != "none")

    @property
    def received(self) -> Literal["float32", "int8", "bits"]:
        """Return what the engine receives of documents and queries."""
        if self.quantizer != "qatlab":
            return "float32"
        return "int8" if self.stored == "int8" else "bits"

    @property
    def reference(self) -> Reference:
        """Return the exact search of qatlab with which the mode is compared.

        It is that of the same codes, where qatlab makes them. What an engine quantizes itself, and what it scores again with floats,
        is compared with the exact search of the float32 embeddings, which it approximates.
        """
        return self.received if self.rescoring == "none" else "float32"


class Vectors(Protocol):
    """Documents to index, which are read in blocks.

    Attributes:
        count: Number of documents; their ids are 0 to count − 1, in order.
        dim: Number of dimensions.
        similarity: Similarity by which float32 embeddings are compared, which have unit length if it is cosine; int8 codes of
            qatlab are always compared by their inner product (`dot`), and bits by their Hamming distance.
    """

    count: int
    dim: int
    similarity: Literal["cosine", "dot"]

    def blocks(self) -> "Iterator[np.ndarray]":
        """Yield what the engine receives of the documents, in their order.

        Blocks are (n, dim) float32 if the engine quantizes or stores floats, (n, dim) int8 of int8 codes of qatlab, or
        (n, ceil(dim / 8)) uint8 of bits of qatlab in the order of `numpy.packbits` (1 where the value is above 0; padding is 0).
        """

    def floats(self) -> "Iterator[np.ndarray]":
        """Yield the float32 embeddings of the same documents, for rescoring."""


@dataclass(frozen=True)
class Snippet:
    """Python code that stores and searches documents with an engine's own package.

    The code reads the names `stored` and `searched`, what the engine receives of documents and of queries, (n, …) each; see
    `Vectors.blocks` and `Opened.search`. It sets `ids`, the positions of the ten best documents of each query, best first.

    Attributes:
        imports: Import statements, one per line.
        lines: What follows them.
    """

    imports: tuple[str, ...]
    lines: tuple[str, ...]


class Opened(ABC):
    """An index that is open for searches, by several threads at once."""

    @abstractmethod
    def search(self, query: "np.ndarray", k: int, floats: "np.ndarray | None" = None) -> "np.ndarray":
        """Return the ids of the k best documents, best first.

        Args:
            query: One query: (dim,) float32 if the engine quantizes or stores floats; (dim,) int8 beside int8 codes of qatlab, weighted
                by the steps of the grid, so that its inner product with a document's codes ranks documents; or
                (ceil(dim / 8),) uint8 beside bits of qatlab, to be compared by Hamming distance.
            k: Number of documents.
            floats: (dim,) float32, the query for rescoring; None unless the mode rescores codes of qatlab.

        Returns:
            (k,) int64, or fewer if an approximate index found fewer.
        """

    @abstractmethod
    def parameters(self) -> Mapping[str, str | int | float | bool]:
        """Return the settings that the engine reports of the open index: its metric, precision, graph and quantizer."""


def _distinct(modes: list[str]) -> list[str]:
    if len(set(modes)) < len(modes):
        raise ValueError(f"a mode is listed twice: {', '.join(modes)}; list each mode once")
    return modes


class Engine(Strict, ABC):
    """Base class of engines. A configuration chooses one by `evaluate.engines: [NAME]` or `[{engine: NAME, modes: […]}]`.

    Subclasses narrow `engine` to a Literal with a default, and are registered by `@ENGINES.register(NAME)`. They import the engine's
    package inside methods only, because the plan needs just the fields.

    Attributes:
        PACKAGES: Installed distributions that the engine needs, all of which the extra `engines` installs.
        MODES: Everything that the engine can do.
        DEFAULTS: Names of the modes that run if a configuration names none; None runs all.
        REPRODUCIBLE: Whether building the same index twice gives the same search results.
    """

    PACKAGES: ClassVar[tuple[str, ...]]
    MODES: ClassVar[tuple[Mode, ...]]
    DEFAULTS: ClassVar[tuple[str, ...] | None] = None
    REPRODUCIBLE: ClassVar[bool] = True

    engine: str
    modes: Annotated[
        list[str] | None,
        Field(min_length=1, description="Modes that are built and searched; null runs the engine's default modes."),
        AfterValidator(lambda modes: modes if modes is None else _distinct(modes)),
    ] = None

    @field_validator("modes")
    @classmethod
    def _known_modes(cls, modes: list[str] | None) -> list[str] | None:
        for name in modes or ():
            if name not in cls.all_modes():
                raise ValueError(str(unknown("mode", name, cls.all_modes())))
        return modes

    @classmethod
    def all_modes(cls) -> dict[str, Mode]:
        """Return everything that the engine can do, by name."""
        return {mode.name: mode for mode in cls.MODES}

    def chosen_modes(self) -> list[Mode]:
        """Return the modes that the configuration names, or the engine's default modes."""
        names = self.modes or (self.DEFAULTS if self.DEFAULTS is not None else tuple(self.all_modes()))
        return [self.all_modes()[name] for name in names]

    def reproducible(self, mode: Mode) -> bool:
        """Return whether building the mode's index twice gives the same search results."""
        return self.REPRODUCIBLE

    def problem(self) -> str | None:
        """Return in one line why the engine cannot run on this machine and what to do, or None; called before any job.

        By default, it looks for the installed PACKAGES, without importing them.
        """
        absent = [name for name in self.PACKAGES if not _installed(name)]
        if not absent:
            return None
        return (
            f"evaluate.engines: {self.engine} needs the package {' and '.join(absent)}, which is not installed; "
            f'run `pip install "qatlab[engines]"`, or leave {self.engine} out'
        )

    def package_versions(self) -> dict[str, str]:
        """Return the versions of the installed PACKAGES, on which results depend, without importing them."""
        return {name: distribution(name).version for name in self.PACKAGES}

    @abstractmethod
    def version(self) -> str:
        """Return the version of the engine itself."""

    @abstractmethod
    def build(self, mode: Mode, vectors: Vectors, folder: Path, threads: int) -> None:
        """Write an index of the documents to a folder, which exists and is empty.

        The folder is renamed when the index is complete, so that an index must not store its own path.

        Raises:
            UserError: in one line, if the disk is full or the engine refuses.
        """

    @abstractmethod
    def open(self, mode: Mode, folder: Path, threads: int) -> AbstractContextManager[Opened]:
        """Open the index for searches.

        Args:
            mode: The mode in which it was built.
            folder: The folder that `build` wrote.
            threads: Number of threads that search at once, one query each; a search is to use a single CPU core.

        Raises:
            UserError: in one line, for a locked file, an index of another version of the engine, or a port in use.
        """

    def snippet(self, mode: Mode, similarity: Literal["cosine", "dot"]) -> Snippet | None:
        """Return Python code that stores and searches documents as a mode does, for documentation; None where no short code does.

        Args:
            mode: One of the engine's modes.
            similarity: Similarity of float32 embeddings, which have unit length if it is cosine.
        """
        return None


class GraphEngine(Engine):
    """Base class of engines in this process whose graphs several threads can build."""

    build_threads: Annotated[
        int,
        Field(
            gt=0,
            description="hnsw: number of threads that build the graph. With more than 1, links depend on which thread is first, so that "
            "results differ from build to build.",
        ),
    ] = 1

    def reproducible(self, mode: Mode) -> bool:
        """Return whether building the mode's index twice gives the same search results: not if several threads build a graph."""
        return mode.index != "hnsw" or self.build_threads == 1


def _installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


@contextmanager
def in_one_line(engine: str, folder: Path, failure: str) -> Iterator[None]:
    """Replace any exception of an engine, and of the libraries that it calls, by one line.

    Args:
        engine: Name of the engine.
        folder: Folder of the index.
        failure: What failed, such as "cannot build an index".

    Raises:
        UserError: In place of every other exception.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise full(error, folder) or UserError(
            f"{engine}: {failure} in {folder}: {printable(error)}; delete it, and build the index again"
        ) from error


MANIFEST = "index.json"  # file of an index folder, which is written last
FILES = "files"  # folder of the engine's own files in an index folder


def write_index(engine: Engine, mode: Mode, vectors: Vectors, folder: Path, threads: int) -> None:
    """Build an index aside, and rename it to `folder` when it is complete.

    Args:
        engine: The engine.
        mode: One of the engine's modes.
        vectors: The documents.
        folder: The index folder to write; an index that is already there is replaced.
        threads: Number of CPU threads.

    Raises:
        UserError: If the disk is full or the engine refuses. Nothing is left behind then.
    """
    with written_aside(folder) as scratch:
        files = scratch / FILES
        files.mkdir()
        engine.build(mode, vectors, files, threads)
        write_json(scratch / MANIFEST, _manifest(engine, mode) | {"count": vectors.count, "dim": vectors.dim})


@contextmanager
def open_index(engine: Engine, mode: Mode, folder: Path, threads: int) -> Iterator[Opened]:
    """Open an index that `write_index` wrote.

    Args:
        engine: The engine, of the version that built the index.
        mode: The mode of the index.
        folder: The index folder.
        threads: Number of CPU threads.

    Raises:
        UserError: For a folder without a complete index, or with one of another engine, version or mode; and as `Engine.open`.
    """
    try:
        manifest = read_json(folder / MANIFEST)
    except (OSError, ValueError):
        raise UserError(f"{folder} holds no complete index; delete it, and build the index again") from None
    for key, value in _manifest(engine, mode).items():
        stored = manifest.get(key) if isinstance(manifest, dict) else None
        if stored != value:
            raise UserError(
                f"{folder} holds an index whose {key} is {stored}, but {value} is to be opened; "
                "delete it, and build the index again"
            )
    with engine.open(mode, folder / FILES, threads) as opened:
        yield opened


def _manifest(engine: Engine, mode: Mode) -> dict[str, Any]:
    return {"engine": engine.engine, "version": engine.version(), "mode": mode.name}


ENGINES: Registry[type[Engine]] = Registry("engine", "qatlab.engines", key="engine")
