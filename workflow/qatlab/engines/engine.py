"""Base class and registry of vector search engines, and what the stage `engine` gives them and receives from them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from qatlab.registry import Registry, Strict

if TYPE_CHECKING:
    import numpy as np

Stored = Literal["float32", "float16", "int8", "bits", "pq", "rotated"]
Quantizer = Literal["none", "engine", "qatlab"]
IndexKind = Literal["exact", "hnsw", "ivf"]


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


class Vectors(Protocol):
    """Documents to index, which are read in blocks.

    Attributes:
        count: Number of documents; their ids are 0 to count − 1, in order.
        dim: Number of dimensions.
        similarity: Similarity of float32 embeddings and of int8 codes (inner product of the codes as they are: `dot`).
    """

    count: int
    dim: int
    similarity: Literal["cosine", "dot"]

    def blocks(self) -> "Iterator[np.ndarray]":
        """Yield what the index stores, in order: (n, dim) float32, (n, dim) int8, or (n, dim / 8) uint8 of packed bits.

        It is float32 if the engine quantizes, or stores floats.
        """

    def floats(self) -> "Iterator[np.ndarray]":
        """Yield the float32 embeddings of the same documents, for rescoring."""


class Opened(ABC):
    """An index that is open for searches, by several threads at once."""

    @abstractmethod
    def search(self, query: "np.ndarray", k: int, floats: "np.ndarray | None" = None) -> "np.ndarray":
        """Return the ids of the k best documents, best first.

        Args:
            query: One query in the format of the stored documents: (dim,) float32, (dim,) float32 beside int8 codes of qatlab (see
                `Engine.integer_queries`), or (dim / 8,) uint8.
            k: Number of documents.
            floats: (dim,) float32, the query for rescoring, if the mode rescores codes of qatlab.

        Returns:
            (k,) int64, or fewer if an approximate index found fewer.
        """

    @abstractmethod
    def parameters(self) -> Mapping[str, str | int | float | bool]:
        """Return the settings that the engine reports of the open index: its metric, precision, graph and quantizer."""


class Engine(Strict, ABC):
    """Base class of engines. A configuration chooses one by `evaluate.engines: [NAME]` or `[{engine: NAME, modes: […]}]`.

    Subclasses import the engine's package inside methods only, because the plan needs just the fields.

    Attributes:
        PACKAGES: Installed distributions that the engine needs.
        MODES: Everything that the engine can do, the default modes first.
        REPRODUCIBLE: Whether building the same index twice gives the same search results.
    """

    PACKAGES: ClassVar[tuple[str, ...]]
    MODES: ClassVar[tuple[Mode, ...]]
    REPRODUCIBLE: ClassVar[bool] = True

    engine: str
    modes: list[str] | None = None

    def problem(self) -> str | None:
        """Return in one line why the engine cannot run on this machine and what to do, or None; called before any job."""
        raise NotImplementedError  # the default looks for PACKAGES

    @abstractmethod
    def version(self) -> str:
        """Return the version of the engine itself."""

    @abstractmethod
    def build(self, mode: Mode, vectors: Vectors, folder: Path, threads: int) -> None:
        """Write an index of the documents to a folder, which exists and is empty.

        Raises:
            UserError: in one line, if the disk is full or the engine refuses.
        """

    @abstractmethod
    def open(self, mode: Mode, folder: Path, threads: int) -> AbstractContextManager[Opened]:
        """Open the index for searches.

        Raises:
            UserError: in one line, for a locked file, an index of another version of the engine, or a port in use.
        """


ENGINES: Registry[type[Engine]] = Registry("engine", "qatlab.engines", key="engine")
