"""Builder of tasks in which each query has exactly one document: the translation of a text, or the text itself."""

import pandas as pd


def as_task(texts: list[str], counterparts: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return documents (the counterparts), queries (the texts) and judgements that pair them by equal ids, in their order."""
    digits = len(str(len(texts)))
    ids = [f"text-{number:0{digits}}" for number in range(len(texts))]
    return (
        pd.DataFrame({"id": ids, "text": counterparts}),
        pd.DataFrame({"id": ids, "text": texts}),
        pd.DataFrame({"query_id": ids, "doc_id": ids, "relevance": 1.0}),
    )
