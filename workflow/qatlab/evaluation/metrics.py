"""Figures of a ranking, per query, with the definitions of trec_eval (and BEIR, MTEB)."""

import numpy as np

from qatlab.config.evaluate import METRIC


def name_and_cutoff(metric: str) -> tuple[str, int]:
    """'ndcg@10' → ('ndcg', 10); raises ValueError for a metric that is none of ours."""
    match = METRIC.fullmatch(metric)
    if match is None:
        raise ValueError(f"unknown metric '{metric}'; valid: ndcg@k, mrr@k, recall@k, accuracy@k")
    return match.group(1), int(match.group(2))


def per_query(metric: str, gains: np.ndarray, judged: list[list[int]]) -> np.ndarray:
    """One value a query.

    Args:
        metric: 'ndcg@k', 'mrr@k', 'recall@k' or 'accuracy@k'.
        gains: (q, depth) relevance of the ranked documents, best rank first, 0 for the irrelevant; depth ≥ k,
            or all documents.
        judged: for each query, the positive relevances of its judged documents.

    Returns:
        (q,) float64.
    """
    name, k = name_and_cutoff(metric)
    top = gains[:, :k].astype(np.float64)
    hits = top > 0
    found = np.asarray(hits.any(axis=1))
    if name == "accuracy":
        return found.astype(np.float64)
    if name == "recall":
        return hits.sum(axis=1).astype(np.float64) / np.array([len(grades) for grades in judged], dtype=np.float64)
    if name == "mrr":
        first = hits.argmax(axis=1)
        reciprocal: np.ndarray = np.where(found, 1.0 / (first + 1.0), 0.0)
        return reciprocal
    discounts = 1.0 / np.log2(np.arange(2, top.shape[1] + 2))
    ideal = np.array([_dcg(sorted(grades, reverse=True)[:k]) for grades in judged])
    values: np.ndarray = (top * discounts).sum(axis=1) / ideal
    return values


def _dcg(grades: list[int]) -> float:
    return float(sum(grade / np.log2(rank + 2) for rank, grade in enumerate(grades)))
