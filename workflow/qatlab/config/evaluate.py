"""How embeddings are scored (conf/evaluate)."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qatlab.config.base import Strict
from qatlab.config.precision import PrecisionName, RotationConfig

METRIC = re.compile(r"(ndcg|mrr|recall|accuracy)@([1-9]\d*)")


class EvaluateConfig(Strict):
    """Which figures, at which output precisions."""

    metrics: Annotated[list[str], Field(min_length=1, description="ndcg@k, mrr@k, recall@k, accuracy@k")]
    precisions: Annotated[list[PrecisionName], Field(min_length=1)] = ["float32", "int8", "binary"]
    similarity: Annotated[
        Literal["cosine", "dot"], Field(description="cosine scales embeddings to unit length first")
    ] = "cosine"
    ranges: Annotated[
        Literal["corpus", "per_call", "model"],
        Field(
            description="What integer grids' ranges are fitted on: the indexed documents, each side by itself, "
            "or what training saved with the model (methods whose ranges are not those of each batch)"
        ),
    ] = "corpus"
    range_kind: Annotated[
        Literal["minmax", "percentile", "symmetric", "fixed"],
        Field(description="Per dimension: extremes, percentiles (0.1 and 99.9), ±max |value|; or ±range_limit for all"),
    ] = "minmax"
    range_limit: Annotated[float, Field(gt=0, description="Of range_kind fixed")] = 0.18
    rotations: Annotated[
        list[RotationConfig],
        Field(min_length=1, description="Fitted on the indexed documents, without labels, before the grid"),
    ] = [RotationConfig()]

    @field_validator("rotations", mode="before")
    @classmethod
    def _by_kind(cls, rotations: object) -> object:
        """`[none, itq]` is short for `[{kind: none}, {kind: itq}]`."""
        if not isinstance(rotations, list):
            return rotations
        return [{"kind": rotation} if isinstance(rotation, str) else rotation for rotation in rotations]

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, metrics: list[str]) -> list[str]:
        for metric in metrics:
            if not METRIC.fullmatch(metric):
                raise ValueError(f"unknown metric '{metric}'; valid: ndcg@k, mrr@k, recall@k, accuracy@k with k ≥ 1")
        return metrics

    @model_validator(mode="after")
    def _each_once(self) -> "EvaluateConfig":
        for what, names in (("precisions", self.precisions), ("rotations", [r.label for r in self.rotations])):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} lists one twice: {', '.join(names)}")
        if self.ranges == "model" and any(rotation.kind != "none" for rotation in self.rotations):
            raise ValueError("ranges saved with the model are for its own axes; evaluate them with rotations: [none]")
        return self
