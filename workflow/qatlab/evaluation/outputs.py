"""The outputs that one encoding is scored at: every combination of axes, precisions, ranges, scoring and rescoring that is one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from typing_extensions import TypedDict

from qatlab.config.evaluate import CODES, COMPAT, EvaluateConfig, IndexConfig, RescoringStep
from qatlab.config.kind import Kind
from qatlab.config.precision import RotationConfig
from qatlab.quantization.precisions import BITS, QUANTILE, RANGED, bytes_per_embedding, is_binary, sides

RABITQ_FACTORS = 8  # bytes: two floats beside each document's bits
LINK, POSITION = 4, 8  # bytes: a neighbour in a graph's lowest layer, a document's number in a list
SCALAR_QUANTIZED = ("int8", "int4", "float16")  # what faiss's scalar quantizer stores
ANY_INDEX = ("dot", "dequantized", "hamming")  # ways of scoring that graphs and lists know
FITTED_ON = ("none", "training", "corpus")  # what axes are fitted on; the later, the more is known of what is searched
FEW_BITS = 2  # of a dimension, at most, in the outputs of the table `bits`

FLAT = IndexConfig()


class OutputColumns(TypedDict):
    """What scores.csv has of an output; `doc_bytes` is None of text, and of embeddings that a failed job did not make."""

    query_precision: str
    doc_precision: str
    rotation: str
    doc_bytes: int | None
    scoring: str
    ranges: str
    rescoring: str
    dimensions: int | None
    index: str
    fitted_on: str


@dataclass(frozen=True)
class Output:
    """How embeddings are stored and compared.

    Attributes:
        rotation: what turns them first.
        dimensions: the first so many are kept before all else, as Matryoshka models allow; None keeps all.
        query, document: the precision of either side.
        scoring: dot (floats), dequantized (values of codes), codes (integer codes as they are), hamming, rabitq,
            scalar_quantizer, sentence_transformers_compat or mteb_compat.
        ranges: what integer grids are laid over; "" where neither side is one.
        rescoring: steps after the first search, in turn.
        index: what finds the best documents.
    """

    rotation: RotationConfig
    dimensions: int | None
    query: str
    document: str
    scoring: str
    ranges: str
    rescoring: tuple[RescoringStep, ...]
    index: IndexConfig = FLAT

    @property
    def plain(self) -> bool:
        """Whether nothing is lost: float32 on the model's own axes, all of them."""
        return self.axes == "none" and self.query == self.document == "float32" and self.scoring == "dot"

    @property
    def axes(self) -> str:
        """What names the coordinates: 'none', 'itq', 'none_128'."""
        return f"{self.rotation.label}_{self.dimensions}" if self.dimensions else self.rotation.label

    @property
    def rescoring_label(self) -> str:
        """'none', or each step: 'int8 of 100, float32 of 20'."""
        return ", ".join(step.label for step in self.rescoring) or "none"

    @property
    def name(self) -> str:
        """Unlike any other's of a configuration, for columns."""
        precision = self.query if self.query == self.document else f"{self.query}_x_{self.document}"
        index = self.index.label if self.index.kind != "flat" else ""
        parts = [self.axes, precision, self.scoring, self.ranges, index, *(step.label for step in self.rescoring)]
        return "/".join(part for part in parts if part)

    def document_bytes(self, dim: int) -> int:
        """Bytes that a document takes in the index that is searched first; copies for rescoring are not counted.

        Args:
            dim: coordinates after truncation and rotation.
        """
        beside = RABITQ_FACTORS if self.scoring == "rabitq" else 0
        beside += {"flat": 0, "hnsw": 2 * self.index.m * LINK, "ivf": POSITION}[self.index.kind]
        return bytes_per_embedding(self.document, dim) + beside

    def stored_bytes(self, dim: int) -> int:
        """Bytes that a document takes in all: in the index that is searched first, and in each copy for rescoring."""
        copies = {step.documents for step in self.rescoring}
        return self.document_bytes(dim) + sum(bytes_per_embedding(precision, dim) for precision in copies)

    def described(self, dim: int) -> OutputColumns:
        """Return its columns in scores.csv.

        Args:
            dim: coordinates after truncation and rotation.
        """
        return {
            "query_precision": self.query,
            "doc_precision": self.document,
            "rotation": self.rotation.label,
            "doc_bytes": self.document_bytes(dim),
            "scoring": self.scoring,
            "ranges": self.ranges or "none",
            "rescoring": self.rescoring_label,
            "dimensions": self.dimensions,
            "index": self.index.label,
            "fitted_on": fitted_on(self),
        }


def fitted_on(output: Output) -> str:
    """Name what an output's axes (its centre and its rotation) and cells between quantiles were fitted on: one of FITTED_ON.

    Quantiles adapt to what they are fitted on as a centre does: the middle border of four cells is the median. The extremes
    that cells of equal width lie between do not count; the column `ranges` names what they were fitted on.
    """
    sources = [output.rotation.fitted_on] if output.rotation.fitted else []
    if any(precision in QUANTILE for precision in (output.query, output.document)):
        sources.append("training" if output.ranges in ("training", "model") else "corpus")
    return max(sources, key=FITTED_ON.index, default=FITTED_ON[0])


def has_few_bits(described: Mapping[str, Any]) -> bool:
    """Whether all that is stored of a document takes FEW_BITS a dimension at most, and can be shipped as it is scored.

    Args:
        described: of `Output.described`, or a row of scores.csv.
    """
    bits = BITS.get(described["doc_precision"], FEW_BITS + 1)  # the text of a causal language model has none
    return bits <= FEW_BITS and described["rescoring"] == "none" and described["scoring"] not in COMPAT


def outputs(config: EvaluateConfig, kind: Kind = "retrieval") -> list[Output]:
    """All of them for a kind of task, axes outermost, then precisions, each in the order of the configuration.

    Those on `bit_axes` come last.
    """
    found: dict[Output, None] = {}
    for rotation, dimensions, precision, scoring, ranges, index, rescoring in _choices(config):
        query, document = sides(precision)
        scored_by = _scoring(query, document, scoring)
        if scored_by is None:
            continue
        laid_over = ranges if any(p in RANGED for p in (query, document, *(s.documents for s in rescoring))) else ""
        if scored_by in COMPAT and laid_over:
            laid_over = "per_call"
        if scored_by == "scalar_quantizer":
            laid_over = ""  # faiss fits its own
        output = Output(rotation, dimensions, query, document, scored_by, laid_over, rescoring, index)
        if _makes_sense(output, kind):
            found[output] = None
    return list(found)


def _choices(config: EvaluateConfig) -> Iterator[tuple[Any, ...]]:
    """Fields of outputs, whether they fit together or not: all that is listed, on `bit_axes` bits alone, searched in the plain way."""
    yield from product(
        config.rotations,
        config.dimensions,
        config.precisions,
        config.scoring,
        config.ranges,
        config.index,
        config.rescoring,
    )
    yield from product(
        config.bit_axes,
        [None] if None in config.dimensions else config.dimensions[:1],
        [name for name in config.precisions if is_binary(sides(name)[1])],
        [scoring for scoring in config.scoring if scoring == "dequantized"],
        [ranges for ranges in config.ranges if ranges != "model"] or ["corpus"],  # the model's are of its own axes
        [index for index in config.index if index.kind == "flat"],
        [steps for steps in config.rescoring if not steps],
    )


def _makes_sense(output: Output, kind: Kind) -> bool:
    searched = kind == "retrieval"
    if output.scoring in COMPAT:
        as_encoded = output.rotation.plain and not output.rescoring and output.index.kind == "flat"
        return as_encoded and kind != "reranking"
    if output.scoring in ("rabitq", "scalar_quantizer") or output.rescoring or output.index.kind != "flat":
        rescored = not output.rescoring or _adds(output.document, output.rescoring)
        return searched and rescored and (output.index.kind == "flat" or output.scoring in ANY_INDEX)
    return True


def _scoring(query: str, document: str, asked: str) -> str | None:
    """What a way of scoring is for a pair of precisions; None where there is no such thing."""
    if asked in COMPAT:
        return asked if query == document and query in COMPAT[asked] else None
    if asked == "scalar_quantizer":
        return asked if query == "float32" and document in SCALAR_QUANTIZED else None
    if asked == "codes":
        return "codes" if query == document and query in CODES else None
    if asked == "rabitq":
        return "rabitq" if query == "float32" and is_binary(document) else None
    if is_binary(query) and is_binary(document):
        return "hamming"
    return "dot" if query == document == "float32" else "dequantized"


def _adds(document: str, rescoring: tuple[RescoringStep, ...]) -> bool:
    """Whether rescoring knows more of a document than the search before it."""
    return all(step.documents != document for step in rescoring) and document != "float32"
