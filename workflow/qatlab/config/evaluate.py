"""Configuration of the evaluation of embeddings, under the key `evaluate`, and the registry of metrics that it names."""

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from qatlab.config.precision import PrecisionName, RotationConfig, axes_by_name
from qatlab.engines.engine import ENGINES, Engine
from qatlab.errors import unknown
from qatlab.quantization.precisions import check_precision
from qatlab.registry import Registry, Strict

# Precisions whose codes can be compared as stored.
CODES = ("int8", "uint8", "int4", "int2", "int2_quantile", "ternary")
COMPAT = {  # precisions that the evaluator of each library supports
    "sentence_transformers_compat": ("float32", "int8", "uint8", "binary", "ubinary"),
    "mteb_compat": ("float32", "float16", "bfloat16", "float8_e4m3", "int8", "uint8", "int4", "binary"),
}


if TYPE_CHECKING:
    import numpy as np

NAMED = re.compile(r"([A-Za-z]\w*)@([1-9]\d*)")


class Metric(ABC):
    """A metric of the k best documents of each query.

    Attributes:
        label: its name in tables and plots, before "@k".
        trec: its name in trec_eval, with {} for the cutoff, by which mteb's own results contain it; None if they do not.
        mteb: its name in mteb's result files, with {} for the cutoff; None if they do not contain it.
    """

    label: ClassVar[str]
    trec: ClassVar[str | None] = None
    mteb: ClassVar[str | None] = None

    @abstractmethod
    def per_query(self, gains: "np.ndarray", judged: list[list[int]], k: int) -> "np.ndarray":
        """Compute the metric of each query's ranking.

        Args:
            gains: (q, min(depth, k)) relevance grades of the ranked documents, best rank first, 0 for irrelevant ones.
            judged: For each query, the positive grades of its judged documents.
            k: The cutoff.

        Returns:
            (q,) float64.
        """


METRICS: Registry[type[Metric]] = Registry("metric", "qatlab.metrics", key="name")  # which defines and registers them


def metric_and_cutoff(name: str) -> tuple[Metric, int]:
    """Return the metric and the cutoff of a name such as 'ndcg@10'; raise ValueError for an unknown one."""
    match = NAMED.fullmatch(name)
    if match is None or match.group(1) not in METRICS:
        valid = ", ".join(f"{known}@k" for known in METRICS.names())
        raise ValueError(f"unknown metric '{name}'; valid: {valid} with k ≥ 1")
    return METRICS.get(match.group(1))(), int(match.group(2))


class RescoringStep(Strict):
    """One rescoring step: the best documents of a search are scored again with float32 queries and more precise documents."""

    documents: Annotated[
        str, Field(description="Precision of the documents in this step, such as float32 or int8.")
    ] = "float32"
    oversampling: Annotated[
        int, Field(gt=1, description="Number of documents that are scored again, as a multiple of top_k.")
    ] = 4
    top_k: Annotated[int, Field(gt=0, description="Number of documents that a search returns to its user.")] = 10

    @field_validator("documents")
    @classmethod
    def _known(cls, precision: str) -> str:
        check_precision(precision)
        return precision

    @property
    def candidates(self) -> int:
        """Return the number of documents that are scored again; documents ranked below them keep their order."""
        return self.oversampling * self.top_k

    @property
    def label(self) -> str:
        """Return the name in tables, such as 'float32 of 40'."""
        return f"{self.documents} of {self.candidates}"


class IndexConfig(Strict):
    """The index that finds the best documents, and its parameters."""

    kind: Annotated[
        Literal["flat", "hnsw", "ivf", "pq"],
        Field(
            description="flat compares each query with every document; hnsw (graph) and ivf (inverted lists) are faiss's indexes for "
            "approximate search; pq is its product quantizer, fitted on the indexed documents, which stores float32 documents in "
            "code_bytes bytes."
        ),
    ] = "flat"
    m: Annotated[int, Field(ge=2, description="hnsw: number of neighbours that each document is linked to.")] = 32
    ef_construction: Annotated[
        int, Field(gt=0, description="hnsw: number of candidates that are considered while the graph is built.")
    ] = 40
    ef_search: Annotated[
        int,
        Field(
            gt=0,
            description="hnsw: number of candidates that a search considers; at least the largest k of the metrics is used.",
        ),
    ] = 64
    lists: Annotated[
        int | None,
        Field(
            gt=0,
            description="ivf: number of clusters of documents; null is the square root of the number of documents.",
        ),
    ] = None
    probes: Annotated[int, Field(gt=0, description="ivf: number of clusters that a search visits.")] = 8
    code_bytes: Annotated[
        int,
        Field(
            gt=0,
            description="pq: bytes per document, each of which stands for the nearest of 256 centroids in one part of the dimensions; a "
            "divisor of their number.",
        ),
    ] = 48

    @property
    def label(self) -> str:
        """Return the name in tables: 'flat', 'hnsw_32_64', 'ivf_8', 'ivf_8_of_100', 'pq_48'."""
        if self.kind == "pq":
            return f"pq_{self.code_bytes}"
        if self.kind == "hnsw":
            return f"hnsw_{self.m}_{self.ef_search}"
        clusters = f"_of_{self.lists}" if self.lists else ""
        return f"ivf_{self.probes}{clusters}" if self.kind == "ivf" else "flat"


def _index(value: Any) -> Any:
    """Expand the short form of an index: `hnsw` is `{kind: hnsw}`."""
    return {"kind": value} if isinstance(value, str) else value


Index = Annotated[IndexConfig, BeforeValidator(_index)]


def _listed(value: Any) -> Any:
    """Put a value into a list, unless it is one."""
    return value if isinstance(value, list | tuple) else [value]


def _steps(value: Any) -> Any:
    """Expand the short forms of a rescoring to a tuple of steps.

    The entries of `[none, int8, [{documents: int8, oversampling: 10}, float32]]` mean without rescoring, one step, and a cascade of two.
    """
    if value in ("none", None):
        return ()
    return tuple({"documents": step} if isinstance(step, str) else step for step in _listed(value))


def _engine(value: Any) -> Any:
    """Expand the short form of an engine: `usearch` is `{engine: usearch}`; raise UserError for an unknown engine."""
    named = {"engine": value} if isinstance(value, str) else value
    name = named.get("engine") if isinstance(named, dict) else None
    if isinstance(name, str) and name not in ENGINES:
        raise ValueError(str(unknown("engine", name, ENGINES.names())))
    return named


if TYPE_CHECKING:
    EngineConfig = Engine
else:
    EngineConfig = Annotated[ENGINES.config_type(), BeforeValidator(_engine)]

Rescoring = Annotated[tuple[RescoringStep, ...], BeforeValidator(_steps)]


class EvaluateConfig(Strict):
    """Metrics and output precisions of an evaluation; every meaningful combination of the listed values is scored."""

    metrics: Annotated[
        list[str],
        Field(
            min_length=1,
            description="Metrics of retrieval with their cutoffs, such as ndcg@10: ndcg, mrr, recall, accuracy, and those of installed "
            "packages. The first one is the study's main metric.",
        ),
    ] = ["ndcg@10", "mrr@10", "recall@10", "recall@100", "accuracy@1"]
    precisions: Annotated[
        list[PrecisionName], Field(min_length=1, description="Precisions of the embeddings that are scored.")
    ] = ["float32", "int8", "binary"]
    similarity: Annotated[
        Literal["model", "cosine", "dot"],
        Field(
            description="Similarity of two embeddings. model is the one in the model's own configuration, or cosine where that names "
            "none; cosine first scales embeddings to unit length; dot is the dot product."
        ),
    ] = "model"
    scoring: Annotated[
        list[
            Literal[
                "dequantized",
                "codes",
                "rabitq",
                "bbq",
                "scalar_quantizer",
                "sentence_transformers_compat",
                "mteb_compat",
            ]
        ],
        BeforeValidator(_listed),
        Field(
            min_length=1,
            description="How quantized embeddings are compared. dequantized compares the values that codes represent (bits with bits "
            "by Hamming distance; int2, int2_quantile and ternary at unit length where similarity is cosine). codes compares the "
            "integer codes of int8, uint8, int4, int2, int2_quantile or ternary as stored. rabitq compares float queries with bits "
            "by RaBitQ's estimator; bbq does so without a rotation and with queries of 4 bits, as Lucene's and Elasticsearch's Better "
            "Binary Quantization. scalar_quantizer compares float queries with int8, int4 or float16 documents as faiss stores "
            "them. sentence_transformers_compat and mteb_compat score as the evaluators of these libraries do.",
        ),
    ] = ["dequantized"]
    ranges: Annotated[
        list[Literal["corpus", "per_call", "training", "model"]],
        BeforeValidator(_listed),
        Field(
            min_length=1,
            description="Calibration set of the ranges and quantiles of integer grids. corpus is the indexed documents; per_call "
            "fits queries and documents separately, each on itself; training is documents of the training data; model takes the "
            "ranges that training saved with the model (methods whose ranges are not those of each batch).",
        ),
    ] = ["corpus"]
    range_kind: Annotated[
        Literal["minmax", "percentile", "symmetric", "fixed"],
        Field(
            description="Ranges of int8, uint8, int4 and int2. minmax takes the extremes of each dimension, percentile its 0.1 and "
            "99.9 percentiles, symmetric ±max |value|; fixed takes ±range_limit for all dimensions. The cells of int2_quantile and "
            "ternary lie between quantiles and do not depend on this key."
        ),
    ] = "minmax"
    range_rows: Annotated[
        int,
        Field(
            gt=0,
            description="Number of training documents, from the first, that are embedded to fit ranges (ranges: training) and axes "
            "(fitted_on: training). The mean of 512 is within about 4 % of a standard deviation of the mean of all.",
        ),
    ] = 512
    range_limit: Annotated[
        float,
        Field(gt=0, description="Limit of range_kind fixed: every dimension ranges from -range_limit to range_limit."),
    ] = 0.18
    rescoring: Annotated[
        list[Rescoring],
        BeforeValidator(_listed),
        Field(
            min_length=1,
            description="Rescoring after a search at a lower precision. Each entry is `none`, a precision, a step with its fields, or "
            "a list of steps that follow each other.",
        ),
    ] = [()]
    index: Annotated[
        list[Index],
        BeforeValidator(_listed),
        Field(
            min_length=1,
            description="Indexes that are searched: flat, hnsw, ivf or pq, or a mapping with parameters such as {kind: hnsw, m: 16}. "
            "hnsw and ivf search dequantized values or bits; pq searches float32.",
        ),
    ] = [IndexConfig()]
    dimensions: Annotated[
        list[Annotated[int, Field(gt=0)] | None],
        BeforeValidator(_listed),
        Field(min_length=1, description="Number of leading dimensions that are kept (Matryoshka); null keeps all."),
    ] = [None]
    rotations: Annotated[
        list[RotationConfig],
        Field(
            min_length=1,
            description="Axes on which every output is scored. They are fitted without labels before the grid, on the indexed "
            "documents unless an entry sets fitted_on: training.",
        ),
    ] = [RotationConfig()]
    bit_axes: Annotated[
        list[RotationConfig],
        Field(
            description="Axes on which outputs whose documents are bits (binary, ubinary, float32_x_binary) are scored in addition "
            "to those of `rotations`. They are baselines that need no training, and appear in the tables `bits` and `pareto`. Axes "
            "that embeddings do not admit are skipped, with a line in the job's output: ITQ where a corpus has too few documents, and "
            "over-complete ones of no more bits than the embeddings have dimensions. Short forms are the kinds, centred and median: "
            "[centred, itq, {kind: overcomplete, factor: 2}].",
        ),
    ] = []

    engines: Annotated[
        list[EngineConfig],
        BeforeValidator(_listed),
        Field(
            exclude_if=lambda engines: not engines,  # so that scores without it keep their names
            description="Vector search engines that index each retrieval task's embeddings as they would be shipped: faiss, usearch, "
            "sqlite_vec, qdrant, milvus, pgvector and lancedb, or a mapping with modes such as "
            "{engine: usearch, modes: [int8_engine_exact, int8_qatlab_exact]}. They need the extra `engines`. Codes of qatlab are those of "
            "the first entry of `ranges`.",
        ),
    ] = []

    @field_validator("rotations", "bit_axes", mode="before")
    @classmethod
    def _by_name(cls, rotations: object) -> object:
        """Expand `[none, itq, centred]` to `[{kind: none}, {kind: itq}, {kind: none, center: mean}]`."""
        return [axes_by_name(axes) for axes in rotations] if isinstance(rotations, list) else rotations

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, metrics: list[str]) -> list[str]:
        for metric in metrics:
            metric_and_cutoff(metric)
        return metrics

    def metric_classes(self) -> list[type[Metric]]:
        """Return the classes of the metrics, in their order."""
        return [type(metric_and_cutoff(metric)[0]) for metric in self.metrics]

    @model_validator(mode="after")
    def _mteb_computes_the_metrics(self) -> "EvaluateConfig":
        for metric in self.metrics if "mteb_compat" in self.scoring else []:
            if metric_and_cutoff(metric)[0].trec is None:
                raise ValueError(
                    f"mteb does not compute {metric}; leave it out of metrics, or mteb_compat out of scoring"
                )
        return self

    @model_validator(mode="after")
    def _each_once(self) -> "EvaluateConfig":
        listed: dict[str, list[Any]] = {
            "metrics": self.metrics,
            "precisions": self.precisions,
            "scoring": self.scoring,
            "ranges": self.ranges,
            "rescoring": [", ".join(step.label for step in steps) for steps in self.rescoring],
            "index": [index.label for index in self.index],
            "dimensions": self.dimensions,
            "rotations": [rotation.label for rotation in self.rotations],
            "bit_axes": [axes.label for axes in self.bit_axes],
            "engines": [engine.engine for engine in self.engines],
        }
        for key, entries in listed.items():
            if len(set(entries)) != len(entries):
                raise ValueError(f"{key} lists an entry twice: {', '.join(map(str, entries))}")
        if "model" in self.ranges and not all(rotation.plain for rotation in self.rotations):
            raise ValueError(
                "ranges saved with the model apply to the model's own axes; evaluate them with rotations: [none]"
            )
        if "model" in self.ranges and self.dimensions != [None]:
            raise ValueError(
                "ranges saved with the model apply to all its dimensions; evaluate them with dimensions: [null]"
            )
        return self

    @model_validator(mode="after")
    def _one_label_is_one_rotation(self) -> "EvaluateConfig":
        rotations_by_label = {rotation.label: rotation for rotation in self.rotations}
        for axes in self.bit_axes:
            if rotations_by_label.get(axes.label, axes) != axes:
                raise ValueError(
                    f"rotations and bit_axes list '{axes.label}' with different seeds, and tables would show both under the same "
                    "name; give both the same seed, or list it once"
                )
        return self

    @model_validator(mode="after")
    def _rescoring_narrows(self) -> "EvaluateConfig":
        for steps in self.rescoring:
            counts = [step.candidates for step in steps]
            if counts != sorted(set(counts), reverse=True):
                raise ValueError(
                    f"each step of rescoring must compare fewer documents than the one before, not {counts}"
                )
        return self
