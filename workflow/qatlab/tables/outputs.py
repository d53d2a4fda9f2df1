"""Labels of outputs in tables and plots: the precisions, and whatever is unusual about how embeddings are compared."""

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
    """Return 'int8', or 'float32 × binary' where queries and documents differ."""
    return query_precision if query_precision == doc_precision else f"{query_precision} × {doc_precision}"


def output_label(score: Mapping[Any, Any]) -> str:
    """Return the label of a row of scores.csv, without its rotation.

    Examples: 'int8'; 'int8 codes, ranges per call'; 'binary → float32 of 40, 128 dimensions'.
    """
    label = precision_label(score["query_precision"], score["doc_precision"])
    label += SCORING.get(score["scoring"], "")
    compat = score["scoring"] in COMPAT  # these libraries always fit ranges on each call
    if score["rescoring"] != "none":
        label += f" → {score['rescoring'].replace(', ', ' → ')}"
    more = [] if score["ranges"] in USUAL_RANGES or compat else [RANGES[score["ranges"]]]
    if score["index"] != "flat":
        more.append(score["index"].replace("_", " "))
    if not pd.isna(score["dimensions"]):
        more.append(f"{int(score['dimensions'])} dimensions")
    return ", ".join([label, *more])


def precision_labels(scores: pd.DataFrame) -> pd.Series:
    """Return `output_label` of each row of scores.csv, with the index of the rows."""
    columns = scores[["query_precision", "doc_precision", "scoring", "ranges", "rescoring", "index", "dimensions"]]
    labels = [output_label(row) for row in columns.to_dict("records")]
    return pd.Series(labels, index=scores.index, dtype=object)


def output_labels(scores: pd.DataFrame) -> pd.Series:
    """Return `precision_labels` with the rotation, if there is one, on a line before the label."""
    rotations = scores["rotation"].where(scores["rotation"] != "none", "")
    return rotations.where(rotations == "", rotations + ":\n") + precision_labels(scores)


def on_axes(scores: pd.DataFrame, labels: Collection[str]) -> pd.DataFrame:
    """Return the rows of scores.csv whose rotation has one of the labels."""
    return scores[scores["rotation"].isin(labels)]
