"""What tables and plots call an output: precisions, and what else is unusual about how it is compared."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from qatlab.config.evaluate import COMPAT

FLOAT = "float32"
USUAL_RANGES = ("corpus", "none")
RANGES = {"per_call": "ranges per call", "training": "training's ranges", "model": "the model's ranges"}
SCORING = {
    "codes": " codes",
    "rabitq": " by RaBitQ",
    "scalar_quantizer": " by faiss",
    "sentence_transformers_compat": " as sentence-transformers scores",
    "mteb_compat": " as MTEB scores",
}


def precision_label(query_precision: str, doc_precision: str) -> str:
    """'int8'; 'float32 × binary' for queries × documents."""
    return query_precision if query_precision == doc_precision else f"{query_precision} × {doc_precision}"


def output_label(score: Mapping[Any, Any]) -> str:
    """Of a row of scores.csv, its rotation apart: 'int8'; 'int8 codes, ranges per call'; 'binary → float32 of 40, 128 dimensions'."""
    label = precision_label(score["query_precision"], score["doc_precision"])
    label += SCORING.get(score["scoring"], "")
    compat = score["scoring"] in COMPAT  # whose ranges are always those of each call
    if score["rescoring"] != "none":
        label += f" → {score['rescoring'].replace(', ', ' → ')}"
    more = [] if score["ranges"] in USUAL_RANGES or compat else [RANGES[score["ranges"]]]
    if score["index"] != "flat":
        more.append(score["index"].replace("_", " "))
    if not pd.isna(score["dimensions"]):
        more.append(f"{int(score['dimensions'])} dimensions")
    return ", ".join([label, *more])


def precision_labels(scores: pd.DataFrame) -> pd.Series:
    """`output_label` of each row of scores.csv."""
    columns = scores[["query_precision", "doc_precision", "scoring", "ranges", "rescoring", "index", "dimensions"]]
    labels = [output_label(row) for row in columns.to_dict("records")]
    return pd.Series(labels, index=scores.index, dtype=object)


def output_labels(scores: pd.DataFrame) -> pd.Series:
    """The same, with the rotation before it, if any, in a line of its own."""
    turned = scores["rotation"].where(scores["rotation"] != "none", "")
    return turned.where(turned == "", turned + ":\n") + precision_labels(scores)


def on_axes(scores: pd.DataFrame, labels: Collection[str]) -> pd.DataFrame:
    """The rows of scores.csv on these axes."""
    return scores[scores["rotation"].isin(labels)]
