"""Values of one ranking per query in NumPy alone: metrics of relevance, and agreement with another search.

`qatlab.metrics` registers the metrics of relevance for studies; the evaluator for other trainers calls them directly.
"""

import numpy as np

PAIRS_AT_ONCE = 1 << 20  # pairs of documents that are compared at once when correlations are computed


def ndcg(gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
    """Compute the normalized discounted cumulative gain: gains divided by log2(rank + 1), over those of the ideal ranking.

    Args:
        gains: (q, min(depth, k)) relevance grades of the ranked documents, best rank first, 0 for irrelevant ones.
        judged: For each query, the positive grades of its judged documents.
        k: The cutoff.

    Returns:
        (q,) float64.
    """
    discounts = 1.0 / np.log2(np.arange(2, gains.shape[1] + 2))
    ideal = np.array([_dcg(sorted(grades, reverse=True)[:k]) for grades in judged])
    values: np.ndarray = (gains * discounts).sum(axis=1) / ideal
    return values


def reciprocal_rank(gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
    """Compute the reciprocal of the rank of the first relevant document, 0 where none is among the k best; see `ndcg`."""
    hits = gains > 0
    reciprocal: np.ndarray = np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1.0), 0.0)
    return reciprocal


def recall(gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
    """Compute the share of the relevant documents that are among the k best; see `ndcg`."""
    relevant = np.array([len(grades) for grades in judged], dtype=np.float64)
    return np.asarray((gains > 0).sum(axis=1).astype(np.float64) / relevant)


def accuracy(gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
    """Return 1 where a relevant document is among the k best, else 0; see `ndcg`."""
    return np.asarray((gains > 0).any(axis=1).astype(np.float64))


def _dcg(grades: list[int]) -> float:
    return float(sum(grade / np.log2(rank + 2) for rank, grade in enumerate(grades)))


def overlap(first: np.ndarray, second: np.ndarray, nothing: int) -> np.ndarray:
    """Compute the share of the documents of one ranking that another ranking has too.

    Args:
        first: (q, k) positions of documents, each at most once per query.
        second: (q, k) positions of documents.
        nothing: The position of ranks without a document, which counts for neither ranking.

    Returns:
        (q,) float64; 0 where the first ranking has no document.
    """
    present = first != nothing
    shared = ((first[:, :, None] == second[:, None, :]).any(axis=2) & present).sum(axis=1)
    return shared / np.maximum(present.sum(axis=1), 1)


def kendall_tau(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute Kendall's τ-b between two scores of the same documents, query by query.

    Args:
        first: (q, n) scores.
        second: (q, n) scores of the same documents.

    Returns:
        (q,) float64 between −1 and 1; 0 where one of the scores is the same for all documents, where τ-b is not defined.

    References:
        Kendall 1945, "The treatment of ties in ranking problems", https://doi.org/10.1093/biomet/33.3.239
    """
    count = first.shape[1]
    upper = np.triu_indices(count, 1)
    at_once = max(1, PAIRS_AT_ONCE // max(1, len(upper[0])))
    parts = []
    for start in range(0, len(first), at_once):
        one, other = (np.sign(side[start : start + at_once][:, upper[0]] - side[start : start + at_once][:, upper[1]])
                      for side in (first, second))  # fmt: skip
        untied = np.sqrt((one != 0).sum(axis=1, dtype=np.float64) * (other != 0).sum(axis=1, dtype=np.float64))
        parts.append((one * other).sum(axis=1, dtype=np.float64) / np.where(untied > 0, untied, 1))
    return np.concatenate(parts)
