"""Tasks in which each query has one document of its own: the translation of a text, or the text itself."""

import pandas as pd


def as_task(texts: list[str], counterparts: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Documents (the counterparts), queries (the texts), and that each belongs to the other, named alike and in order."""
    digits = len(str(len(texts)))
    ids = [f"text-{number:0{digits}}" for number in range(len(texts))]
    return (
        pd.DataFrame({"id": ids, "text": counterparts}),
        pd.DataFrame({"id": ids, "text": texts}),
        pd.DataFrame({"query_id": ids, "doc_id": ids, "relevance": 1.0}),
    )
