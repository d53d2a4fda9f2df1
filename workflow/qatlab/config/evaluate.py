"""How embeddings are scored (conf/evaluate)."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from qatlab.base import Strict
from qatlab.config.precision import PrecisionName, RotationConfig, axes_by_name
from qatlab.quantization.precisions import check_precision

CODES = ("int8", "uint8", "int4", "int2", "int2_quantile", "ternary")  # whose codes can be compared as they are
COMPAT = {  # evaluators of others, and the precisions that they have
    "sentence_transformers_compat": ("float32", "int8", "uint8", "binary", "ubinary"),
    "mteb_compat": ("float32", "float16", "bfloat16", "float8_e4m3", "int8", "uint8", "int4", "binary"),
}
METRIC = re.compile(r"(ndcg|mrr|recall|accuracy)@([1-9]\d*)")


class RescoringStep(Strict):
    """The best documents of a search, compared anew by float32 queries and documents that are stored more precisely."""

    documents: Annotated[str, Field(description="Their precision: float32, int8, …")] = "float32"
    oversampling: Annotated[int, Field(gt=1, description="Documents that are compared anew, in multiples of top_k")] = 4
    top_k: Annotated[int, Field(gt=0, description="Documents that a user asks for")] = 10

    @field_validator("documents")
    @classmethod
    def _known(cls, precision: str) -> str:
        check_precision(precision)
        return precision

    @property
    def candidates(self) -> int:
        """How many documents are compared anew; those behind them keep their order."""
        return self.oversampling * self.top_k

    @property
    def label(self) -> str:
        """'float32 of 40'."""
        return f"{self.documents} of {self.candidates}"


class IndexConfig(Strict):
    """What finds the best documents: all are compared (flat), or a graph or lists of near ones are followed, by faiss."""

    kind: Literal["flat", "hnsw", "ivf"] = "flat"
    m: Annotated[int, Field(ge=2, description="hnsw: neighbours that a document is linked to")] = 32
    ef_construction: Annotated[int, Field(gt=0, description="hnsw: candidates when it is built")] = 40
    ef_search: Annotated[
        int, Field(gt=0, description="hnsw: candidates of a search, the depth of the metrics at least")
    ] = 64
    lists: Annotated[
        int | None, Field(gt=0, description="ivf: clusters of documents; null for the square root of how many")
    ] = None
    probes: Annotated[int, Field(gt=0, description="ivf: clusters that are searched")] = 8

    @property
    def label(self) -> str:
        """'flat', 'hnsw_32_64', 'ivf_8', 'ivf_8_of_100'."""
        if self.kind == "hnsw":
            return f"hnsw_{self.m}_{self.ef_search}"
        of = f"_of_{self.lists}" if self.lists else ""
        return f"ivf_{self.probes}{of}" if self.kind == "ivf" else "flat"


def _index(value: Any) -> Any:
    """`[flat, hnsw]` is short for `[{kind: flat}, {kind: hnsw}]`."""
    return {"kind": value} if isinstance(value, str) else value


Index = Annotated[IndexConfig, BeforeValidator(_index)]


def _listed(value: Any) -> Any:
    """One is short for a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def _steps(value: Any) -> Any:
    """`[none, int8, [{documents: int8, oversampling: 10}, float32]]`: no rescoring, one step, a cascade."""
    if value in ("none", None):
        return ()
    return tuple({"documents": step} if isinstance(step, str) else step for step in _listed(value))


Rescoring = Annotated[tuple[RescoringStep, ...], BeforeValidator(_steps)]


class EvaluateConfig(Strict):
    """Which figures, at which output precisions: every combination of what is listed that makes sense is scored."""

    metrics: Annotated[
        list[str],
        Field(
            min_length=1, description="ndcg@k, mrr@k, recall@k, accuracy@k; the first one is the study's main metric"
        ),
    ] = ["ndcg@10", "mrr@10", "recall@10", "recall@100", "accuracy@1"]
    precisions: Annotated[list[PrecisionName], Field(min_length=1)] = ["float32", "int8", "binary"]
    similarity: Annotated[
        Literal["model", "cosine", "dot"],
        Field(
            description="model: the one that the model's own configuration names (cosine where it names none); cosine scales "
            "embeddings to unit length first"
        ),
    ] = "model"
    scoring: Annotated[
        list[
            Literal["dequantized", "codes", "rabitq", "scalar_quantizer", "sentence_transformers_compat", "mteb_compat"]
        ],
        BeforeValidator(_listed),
        Field(
            min_length=1,
            description="dequantized: the values that codes stand for (bits against bits: Hamming distance; int2, int2_quantile and "
            "ternary, where similarity is cosine, at unit length); codes: those of int8, uint8, int4, int2, int2_quantile or ternary as "
            "they are; rabitq: float queries against bits by RaBitQ's estimator; "
            "scalar_quantizer: float queries against int8, int4 or float16 documents as faiss stores them; "
            "sentence_transformers_compat, mteb_compat: as the evaluators of these libraries score",
        ),
    ] = ["dequantized"]
    ranges: Annotated[
        list[Literal["corpus", "per_call", "training", "model"]],
        BeforeValidator(_listed),
        Field(
            min_length=1,
            description="What integer grids' ranges and quantiles are fitted on: the indexed documents; each side by itself; "
            "documents of the training data; or what training saved with the model (methods whose ranges are not those of each batch)",
        ),
    ] = ["corpus"]
    range_kind: Annotated[
        Literal["minmax", "percentile", "symmetric", "fixed"],
        Field(
            description="Of int8, uint8, int4 and int2, per dimension: extremes, percentiles (0.1 and 99.9), ±max |value|; or "
            "±range_limit for all. int2_quantile and ternary have cells between quantiles, whatever this says"
        ),
    ] = "minmax"
    range_rows: Annotated[
        int,
        Field(
            gt=0,
            description="The number of training documents, from the first on, that are embedded to fit ranges and axes of training "
            "on. The mean of 512 is within about 4 % of a standard deviation of the mean of all",
        ),
    ] = 512
    range_limit: Annotated[float, Field(gt=0, description="Of range_kind fixed")] = 0.18
    rescoring: Annotated[
        list[Rescoring],
        BeforeValidator(_listed),
        Field(
            min_length=1, description="After a search at a lower precision: none, a precision, a step, or steps in turn"
        ),
    ] = [()]
    index: Annotated[
        list[Index],
        BeforeValidator(_listed),
        Field(
            min_length=1,
            description="flat, hnsw, ivf, or one with its parameters; what is not flat searches values or bits",
        ),
    ] = [IndexConfig()]
    dimensions: Annotated[
        list[Annotated[int, Field(gt=0)] | None],
        BeforeValidator(_listed),
        Field(min_length=1, description="The first so many are kept (Matryoshka); null keeps all"),
    ] = [None]
    rotations: Annotated[
        list[RotationConfig],
        Field(
            min_length=1,
            description="The axes that every output is scored on, fitted without labels before the grid; on the indexed documents "
            "unless an entry says fitted_on: training",
        ),
    ] = [RotationConfig()]
    bit_axes: Annotated[
        list[RotationConfig],
        Field(
            description="The axes that outputs whose documents are bits (binary, ubinary, float32_x_binary) are scored on besides "
            "those of `rotations`. They are baselines that need no training, and stand in the tables `bits` and `pareto`. Axes "
            "that a corpus has too few documents for are left out with a line in the job's output. Short forms are the "
            "kinds, centred and median: [centred, itq, {kind: overcomplete, factor: 2}]",
        ),
    ] = []

    @field_validator("rotations", "bit_axes", mode="before")
    @classmethod
    def _by_name(cls, rotations: object) -> object:
        """`[none, itq, centred]` is short for `[{kind: none}, {kind: itq}, {kind: none, center: mean}]`."""
        return [axes_by_name(axes) for axes in rotations] if isinstance(rotations, list) else rotations

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, metrics: list[str]) -> list[str]:
        for metric in metrics:
            if not METRIC.fullmatch(metric):
                raise ValueError(f"unknown metric '{metric}'; valid: ndcg@k, mrr@k, recall@k, accuracy@k with k ≥ 1")
        return metrics

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
        }
        for what, names in listed.items():
            if len(set(names)) != len(names):
                raise ValueError(f"{what} lists one twice: {', '.join(map(str, names))}")
        if "model" in self.ranges and not all(rotation.plain for rotation in self.rotations):
            raise ValueError("ranges saved with the model are for its own axes; evaluate them with rotations: [none]")
        if "model" in self.ranges and self.dimensions != [None]:
            raise ValueError(
                "ranges saved with the model are for all its dimensions; evaluate them with dimensions: [null]"
            )
        return self

    @model_validator(mode="after")
    def _one_label_is_one_rotation(self) -> "EvaluateConfig":
        of_label = {rotation.label: rotation for rotation in self.rotations}
        for axes in self.bit_axes:
            if of_label.get(axes.label, axes) != axes:
                raise ValueError(
                    f"rotations and bit_axes have '{axes.label}' with different seeds, which tables would call the same; "
                    "give both one seed, or list it once"
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
