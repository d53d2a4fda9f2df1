"""Outputs, the valid combinations of axes, precisions, scoring, ranges and rescoring at which one encoding is scored.

The file scores.json, which the stage `score` writes and tables read, has a row for each output and metric; so have the rows that a
missing file would have.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, NotRequired

import numpy as np
from typing_extensions import TypedDict

from qatlab.artifact import read_json, write_json
from qatlab.config.evaluate import CODES, COMPAT, EvaluateConfig, IndexConfig, RescoringStep
from qatlab.config.precision import RotationConfig
from qatlab.errors import UserError
from qatlab.evaluation.task import Kind
from qatlab.quantization.precisions import BITS, QUANTILE, RANGED, bytes_per_embedding, is_binary, pair_name, sides

ESTIMATED = ("rabitq", "bbq")  # scorings that estimate products from bits, which are centred on the indexed documents
FACTORS = 8  # bytes of the two float factors that these store with each document's bits
# Bytes of a neighbour in the lowest layer of a graph, and of a document's number in an inverted list.
LINK, POSITION = 4, 8
SCALAR_QUANTIZED = ("int8", "int4", "float16")  # precisions of faiss's scalar quantizer
ANY_INDEX = ("dot", "dequantized", "hamming")  # kinds of scoring that every index supports
# Calibration sets of axes, in increasing order of knowledge about the searched documents.
FITTED_ON = ("none", "training", "corpus")
FEW_BITS = 2  # maximum bits per dimension in the outputs of the table `bits`

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
    """One way of storing and comparing embeddings.

    Attributes:
        rotation: Axes on which embeddings are quantized.
        dimensions: Number of leading dimensions that are kept before rotation (Matryoshka); None keeps all.
        query, document: Precision of the queries and of the documents.
        scoring: dot (floats), dequantized (decoded values), codes (integer codes as stored), hamming, rabitq, bbq,
            scalar_quantizer, sentence_transformers_compat or mteb_compat.
        ranges: Calibration set of integer grids; "" where no precision has ranges.
        rescoring: Rescoring steps after the first search, in order.
        index: The index that finds the best documents.
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
        """Return whether the output is exact: float32 in all dimensions on the model's own axes."""
        return self.axes == "none" and self.query == self.document == "float32" and self.scoring == "dot"

    @property
    def axes(self) -> str:
        """Return the name of the axes and dimensions: 'none', 'itq', 'none_128'."""
        return f"{self.rotation.label}_{self.dimensions}" if self.dimensions else self.rotation.label

    @property
    def rescoring_label(self) -> str:
        """Return the name of the rescoring: 'none', or each step, as in 'int8 of 100, float32 of 20'."""
        return ", ".join(step.label for step in self.rescoring) or "none"

    @property
    def name(self) -> str:
        """Return a name for columns that is unique among the outputs of a configuration."""
        precision = pair_name(self.query, self.document)
        index = self.index.label if self.index.kind != "flat" else ""
        parts = [self.axes, precision, self.scoring, self.ranges, index, *(step.label for step in self.rescoring)]
        return "/".join(part for part in parts if part)

    def document_bytes(self, dim: int) -> int:
        """Return the bytes per document in the index that is searched first, without copies for rescoring.

        Args:
            dim: Number of dimensions after truncation and rotation.
        """
        if self.index.kind == "pq":
            return self.index.code_bytes
        overhead = FACTORS if self.scoring in ESTIMATED else 0
        overhead += {"flat": 0, "hnsw": 2 * self.index.m * LINK, "ivf": POSITION}[self.index.kind]
        return bytes_per_embedding(self.document, dim) + overhead

    def stored_bytes(self, dim: int) -> int:
        """Return the bytes per document in the index that is searched first and in all copies for rescoring."""
        copies = {step.documents for step in self.rescoring}
        return self.document_bytes(dim) + sum(bytes_per_embedding(precision, dim) for precision in copies)

    def described(self, dim: int) -> OutputColumns:
        """Return the columns of scores.csv that describe the output.

        Args:
            dim: Number of dimensions after truncation and rotation.
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
    """Return the calibration set of an output's axes (centre and rotation) and quantiles: one of FITTED_ON.

    RaBitQ's centre and the centroids of a product quantizer are those of the indexed documents. Quantiles adapt to their calibration
    set as a centre does: the middle border of four cells is the median. The extremes of cells of equal width do not count; the column
    `ranges` names their calibration set.
    """
    sources = [output.rotation.fitted_on] if output.rotation.fitted else []
    if output.scoring in ESTIMATED or output.index.kind == "pq":
        sources.append("corpus")
    if any(precision in QUANTILE for precision in (output.query, output.document)):
        sources.append("training" if output.ranges in ("training", "model") else "corpus")
    return max(sources, key=FITTED_ON.index, default=FITTED_ON[0])


def has_few_bits(described: Mapping[str, Any]) -> bool:
    """Return whether documents take at most FEW_BITS bits per dimension in all, and can be deployed in the form that is scored.

    Args:
        described: The columns of `Output.described`, or a row of scores.csv.
    """
    bits = BITS.get(described["doc_precision"], FEW_BITS + 1)  # the text of a causal language model has no bits
    return bits <= FEW_BITS and described["rescoring"] == "none" and described["scoring"] not in COMPAT


def outputs(config: EvaluateConfig, kind: Kind = "retrieval") -> list[Output]:
    """Return all valid outputs for a kind of task.

    The order is that of the configuration, by axes first and then by precisions; outputs on `bit_axes` come last.

    Args:
        config: The precisions, axes, scorings, ranges, indexes and rescorings to combine.
        kind: Kind of the task.
    """
    valid: dict[Output, None] = {}
    for rotation, dimensions, precision, scoring, ranges, index, rescoring in _choices(config):
        query, document = sides(precision)
        scored_by = _scoring(query, document, scoring)
        if scored_by is None:
            continue
        fitted_ranges = ranges if any(p in RANGED for p in (query, document, *(s.documents for s in rescoring))) else ""
        if scored_by in COMPAT and fitted_ranges:
            fitted_ranges = "per_call"
        if scored_by == "scalar_quantizer":
            fitted_ranges = ""  # faiss fits its own ranges
        output = Output(rotation, dimensions, query, document, scored_by, fitted_ranges, rescoring, index)
        if _makes_sense(output, kind):
            valid[output] = None
    return list(valid)


def _choices(config: EvaluateConfig) -> Iterator[tuple[Any, ...]]:
    """Yield the fields of all combinations of the configuration, valid or not.

    `bit_axes` are combined only with bits, with dequantized scoring, with the flat index and without rescoring.
    """
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
        [ranges for ranges in config.ranges if ranges != "model"]
        or ["corpus"],  # the model's ranges fit its own axes only
        [index for index in config.index if index.kind == "flat"],
        [steps for steps in config.rescoring if not steps],
    )


def _makes_sense(output: Output, kind: Kind) -> bool:
    searched = kind == "retrieval"
    if output.scoring in COMPAT:
        as_encoded = output.rotation.plain and not output.rescoring and output.index.kind == "flat"
        return as_encoded and kind not in ("reranking", "agreement")
    if output.index.kind == "pq" and not output.query == output.document == "float32":
        return False
    if output.scoring in (*ESTIMATED, "scalar_quantizer") or output.rescoring or output.index.kind != "flat":
        rescored = not output.rescoring or _adds(output.document, output.rescoring)
        return searched and rescored and (output.index.kind == "flat" or output.scoring in ANY_INDEX)
    return True


def _scoring(query: str, document: str, scoring: str) -> str | None:
    """Return the scoring of an output.

    Args:
        query: Precision of the queries.
        document: Precision of the documents.
        scoring: The configured scoring.

    Returns:
        The scoring for this pair of precisions, where 'dequantized' may become 'dot' or 'hamming'; None where the pair has none.
    """
    if scoring in COMPAT:
        return scoring if query == document and query in COMPAT[scoring] else None
    if scoring == "scalar_quantizer":
        return scoring if query == "float32" and document in SCALAR_QUANTIZED else None
    if scoring == "codes":
        return "codes" if query == document and query in CODES else None
    if scoring in ESTIMATED:
        return scoring if query == "float32" and is_binary(document) else None
    if is_binary(query) and is_binary(document):
        return "hamming"
    return "dot" if query == document == "float32" else "dequantized"


def _adds(document: str, rescoring: tuple[RescoringStep, ...]) -> bool:
    """Return whether every rescoring step uses another precision of documents than the search before it."""
    return all(step.documents != document for step in rescoring) and document != "float32"


def parts(whole: float, without: np.ndarray) -> np.ndarray:
    """Compute the jackknife pseudo-value of each text, shifted so that their mean is the metric of all texts.

    The variance of pseudo-values (n times the metric minus n − 1 times the metric without the text) estimates the metric's sampling
    error.

    Args:
        whole: The metric of all texts.
        without: (n,) float64, for each text the metric of all others; n should be at least 4, because the metric of two texts has
            little meaning.

    Returns:
        (n,) float64.

    References:
        Efron and Stein 1981, "The jackknife estimate of variance", https://doi.org/10.1214/aos/1176345462
    """
    count = len(without)
    pseudo = count * whole - (count - 1) * without
    shifted: np.ndarray = pseudo - pseudo.mean() + whole
    return shifted


SCORES_FILE = "scores.json"
SCHEMA = 3  # Version 1 was a list without the column index; version 2 had no column fitted_on.


class ScoreRow(OutputColumns):
    """One row of scores.json: an output, a metric, and the metric's mean over queries; a planned row has the metric alone."""

    metric: str
    value: NotRequired[float]
    stderr: NotRequired[float]
    queries: NotRequired[int]


class TimingRow(OutputColumns):
    """One row of timings.json: an output that is searched, the bytes of a document in all its copies, and the speed."""

    stored_bytes: int
    queries_per_second: float
    threads: int


class Scored(NamedTuple):
    """The metrics of one model on one task.

    Attributes:
        columns: Arrays with one value per query, pair or text: `query_id`, and `<output>/<metric>` for each metric.
        scores: One row per output and metric, as `write_scores` takes them.
        timings: One row per output that is searched.
    """

    columns: dict[str, list[str] | np.ndarray]
    scores: list[ScoreRow]
    timings: list[TimingRow]


def write_scores(folder: Path, rows: list[ScoreRow]) -> None:
    """Write scores.json to a folder.

    Args:
        folder: The folder of the score artifact.
        rows: One row per output and metric, with columns of scores.csv.
    """
    write_json(folder / SCORES_FILE, {"schema": SCHEMA, "scores": rows})


def read_scores(folder: Path) -> list[ScoreRow]:
    """Read the rows of scores.json from a folder; raise UserError for another version of the file."""
    content = read_json(folder / SCORES_FILE)
    version = content.get("schema") if isinstance(content, dict) else 1
    if version != SCHEMA:
        raise UserError(
            f"{folder / SCORES_FILE} has schema version {version}, but this version of qatlab reads {SCHEMA}; "
            f"remove {folder}, and run the study again"
        )
    rows: list[ScoreRow] = content["scores"]
    return rows


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean over queries; 0 for a single query."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


# The output of a causal language model, which is text, in the columns of scores.csv that describe outputs.
TEXT_OUTPUT: OutputColumns = {
    "query_precision": "text",
    "doc_precision": "text",
    "rotation": "none",
    "doc_bytes": None,
    "scoring": "none",
    "ranges": "none",
    "rescoring": "none",
    "dimensions": None,
    "index": "flat",
    "fitted_on": "none",
}
# Metrics of each kind of task except retrieval, whose metrics are configured.
METRICS_OF_KIND = {
    "agreement": ("overlap@10", "kendall@100"),
    "reranking": ("accuracy@1", "mrr", "rank", "positive_similarity", "margin"),
    "similarity": ("spearman", "pearson"),
    "translation": ("chrf", "bleu"),
    "language_modelling": ("bits_per_byte",),
}


def planned_scores(evaluate: EvaluateConfig | None, kind: Kind) -> list[ScoreRow]:
    """Return the rows of scores.json without values and without the bytes per document, which depend on the model's dimensions.

    Args:
        evaluate: How embeddings are scored; None where the models have none.
        kind: Kind of the task.
    """
    if kind in ("translation", "language_modelling"):
        return [{**TEXT_OUTPUT, "metric": metric} for metric in METRICS_OF_KIND[kind]]
    assert evaluate is not None, "only text is scored without a configuration"
    metrics = METRICS_OF_KIND.get(kind, evaluate.metrics)
    return [
        {**output.described(1), "doc_bytes": None, "metric": metric}
        for output in outputs(evaluate, kind)
        for metric in metrics
    ]
