"""How embeddings are scored (conf/evaluate)."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from qatlab.config.base import Strict

Precision = Literal["float32", "int8", "binary"]
METRIC = re.compile(r"(ndcg|mrr|recall|accuracy)@([1-9]\d*)")


class EvaluateConfig(Strict):
    """Which figures, at which output precisions."""

    metrics: Annotated[list[str], Field(min_length=1, description="ndcg@k, mrr@k, recall@k, accuracy@k")]
    precisions: Annotated[list[Precision], Field(min_length=1)] = ["float32", "int8", "binary"]
    similarity: Annotated[
        Literal["cosine", "dot"], Field(description="cosine scales embeddings to unit length first")
    ] = "cosine"
    ranges: Annotated[
        Literal["corpus", "per_call"], Field(description="What int8's per-dimension min/max are fitted on")
    ] = "corpus"

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, metrics: list[str]) -> list[str]:
        for metric in metrics:
            if not METRIC.fullmatch(metric):
                raise ValueError(f"unknown metric '{metric}'; valid: ndcg@k, mrr@k, recall@k, accuracy@k with k ≥ 1")
        return metrics
