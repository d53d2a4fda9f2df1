"""What tables and plots call an output: the precisions of both sides, and the rotation before them."""

import pandas as pd


def precision_label(query_precision: str, doc_precision: str) -> str:
    """'int8'; 'float32 × binary' for queries × documents."""
    return query_precision if query_precision == doc_precision else f"{query_precision} × {doc_precision}"


def precision_labels(scores: pd.DataFrame) -> pd.Series:
    """`precision_label` of each row of scores.csv."""
    pairs = zip(scores["query_precision"], scores["doc_precision"], strict=True)
    return pd.Series([precision_label(*pair) for pair in pairs], index=scores.index, dtype=object)


def output_labels(scores: pd.DataFrame) -> pd.Series:
    """The same, with the rotation before it, if any, in a line of its own."""
    turned = scores["rotation"].where(scores["rotation"] != "none", "")
    return turned.where(turned == "", turned + ":\n") + precision_labels(scores)
