"""Metrics of a ranking per query, as defined by trec_eval (and used by BEIR and MTEB)."""

import numpy as np

from qatlab.config.evaluate import METRIC


def name_and_cutoff(metric: str) -> tuple[str, int]:
    """Split a metric into its name and cutoff, such as 'ndcg@10' into ('ndcg', 10); raise ValueError for an unknown metric."""
    match = METRIC.fullmatch(metric)
    if match is None:
        raise ValueError(f"unknown metric '{metric}'; valid: ndcg@k, mrr@k, recall@k, accuracy@k")
    return match.group(1), int(match.group(2))


def per_query(metric: str, gains: np.ndarray, judged: list[list[int]]) -> np.ndarray:
    """Compute a metric of each query's ranking.

    Args:
        metric: 'ndcg@k', 'mrr@k', 'recall@k' or 'accuracy@k'.
        gains: (q, depth) relevance grades of the ranked documents, best rank first, 0 for irrelevant ones; depth ≥ k, or the
            number of documents.
        judged: For each query, the positive grades of its judged documents.

    Returns:
        (q,) float64.
    """
    name, k = name_and_cutoff(metric)
    top = gains[:, :k].astype(np.float64)
    hits = top > 0
    has_hit = np.asarray(hits.any(axis=1))
    if name == "accuracy":
        return has_hit.astype(np.float64)
    if name == "recall":
        return hits.sum(axis=1).astype(np.float64) / np.array([len(grades) for grades in judged], dtype=np.float64)
    if name == "mrr":
        first = hits.argmax(axis=1)
        reciprocal: np.ndarray = np.where(has_hit, 1.0 / (first + 1.0), 0.0)
        return reciprocal
    discounts = 1.0 / np.log2(np.arange(2, top.shape[1] + 2))
    ideal = np.array([_dcg(sorted(grades, reverse=True)[:k]) for grades in judged])
    values: np.ndarray = (top * discounts).sum(axis=1) / ideal
    return values


def _dcg(grades: list[int]) -> float:
    return float(sum(grade / np.log2(rank + 2) for rank, grade in enumerate(grades)))
