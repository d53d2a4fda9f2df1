"""The outputs that one encoding is scored at: every combination of axes, precisions, ranges, scoring and rescoring that is one."""

from dataclasses import dataclass
from itertools import product

from qatlab.config.evaluate import CODES, EvaluateConfig, RescoringStep
from qatlab.config.precision import RotationConfig
from qatlab.quantization.precisions import RANGED, bytes_per_embedding, is_binary, sides

RABITQ_FACTORS = 8  # bytes: two floats beside each document's bits


@dataclass(frozen=True)
class Output:
    """How embeddings are stored and compared.

    Attributes:
        rotation: what turns them first.
        dimensions: the first so many are kept before all else, as Matryoshka models allow; None keeps all.
        query, document: the precision of either side.
        scoring: dot (floats), dequantized (values of codes), codes (integer codes as they are), hamming, or rabitq.
        ranges: what integer grids are laid over; "" where neither side is one.
        rescoring: steps after the first search, in turn.
    """

    rotation: RotationConfig
    dimensions: int | None
    query: str
    document: str
    scoring: str
    ranges: str
    rescoring: tuple[RescoringStep, ...]

    @property
    def plain(self) -> bool:
        """Whether nothing is lost: float32 on the model's own axes, all of them."""
        return self.axes == "none" and self.query == self.document == "float32"

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
        parts = [self.axes, precision, self.scoring, self.ranges, *(step.label for step in self.rescoring)]
        return "/".join(part for part in parts if part)

    def document_bytes(self, dim: int) -> int:
        """Bytes that a document takes in the index that is searched first; copies for rescoring are not counted.

        Args:
            dim: coordinates after truncation and rotation.
        """
        size = bytes_per_embedding(self.document, dim)
        return size + RABITQ_FACTORS if self.scoring == "rabitq" else size

    def stored_bytes(self, dim: int) -> int:
        """Bytes that a document takes in all: in the index that is searched first, and in each copy for rescoring."""
        copies = {step.documents for step in self.rescoring}
        return self.document_bytes(dim) + sum(bytes_per_embedding(precision, dim) for precision in copies)

    def described(self, dim: int) -> dict[str, object]:
        """The columns that scores.csv has of it."""
        return {
            "query_precision": self.query,
            "doc_precision": self.document,
            "rotation": self.rotation.label,
            "doc_bytes": self.document_bytes(dim),
            "scoring": self.scoring,
            "ranges": self.ranges or "none",
            "rescoring": self.rescoring_label,
            "dimensions": self.dimensions,
        }


def outputs(config: EvaluateConfig) -> list[Output]:
    """All of them, axes outermost, then precisions, each in the order of the configuration."""
    found: dict[Output, None] = {}
    choices = product(
        config.rotations, config.dimensions, config.precisions, config.scoring, config.ranges, config.rescoring
    )
    for rotation, dimensions, precision, scoring, ranges, rescoring in choices:
        query, document = sides(precision)
        scored_by = _scoring(query, document, scoring)
        if scored_by is None or (rescoring and not _adds(document, rescoring)):
            continue
        laid_over = (
            ranges if query in RANGED or document in RANGED or any(s.documents in RANGED for s in rescoring) else ""
        )
        found[Output(rotation, dimensions, query, document, scored_by, laid_over, rescoring)] = None
    return list(found)


def _scoring(query: str, document: str, asked: str) -> str | None:
    """What a way of scoring is for a pair of precisions; None where there is no such thing."""
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
