"""Metrics of a ranking, per query, as defined by trec_eval (and used by BEIR and MTEB).

A configuration names one with its cutoff, such as ndcg@10. A metric is one class, a subclass of `Metric` that is registered here; an
installed package adds one by the entry point `qatlab.metrics`.
"""

import numpy as np

from qatlab.config.evaluate import METRICS, Metric, metric_and_cutoff


@METRICS.register("ndcg")
class Ndcg(Metric):
    """Normalized discounted cumulative gain: gains divided by log2(rank + 1), over those of the ideal ranking."""

    label, trec, mteb = "nDCG", "ndcg_cut_{}", "ndcg_at_{}"

    def per_query(self, gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
        """Compute the metric of each query's ranking."""
        discounts = 1.0 / np.log2(np.arange(2, gains.shape[1] + 2))
        ideal = np.array([_dcg(sorted(grades, reverse=True)[:k]) for grades in judged])
        values: np.ndarray = (gains * discounts).sum(axis=1) / ideal
        return values


@METRICS.register("mrr")
class ReciprocalRank(Metric):
    """Reciprocal of the rank of the first relevant document; 0 where none is among the k best."""

    label, trec, mteb = "MRR", "recip_rank", "mrr_at_{}"

    def per_query(self, gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
        """Compute the metric of each query's ranking."""
        hits = gains > 0
        reciprocal: np.ndarray = np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1.0), 0.0)
        return reciprocal


@METRICS.register("recall")
class Recall(Metric):
    """Share of the relevant documents that are among the k best."""

    label, trec, mteb = "Recall", "recall_{}", "recall_at_{}"

    def per_query(self, gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
        """Compute the metric of each query's ranking."""
        relevant = np.array([len(grades) for grades in judged], dtype=np.float64)
        return np.asarray((gains > 0).sum(axis=1).astype(np.float64) / relevant)


@METRICS.register("accuracy")
class Accuracy(Metric):
    """1 where a relevant document is among the k best, else 0; success in trec_eval."""

    label, trec, mteb = "Accuracy", "success_{}", "hit_rate_at_{}"

    def per_query(self, gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
        """Compute the metric of each query's ranking."""
        return np.asarray((gains > 0).any(axis=1).astype(np.float64))


def per_query(name: str, gains: np.ndarray, judged: list[list[int]]) -> np.ndarray:
    """Compute a metric of each query's ranking.

    Args:
        name: such as 'ndcg@10'.
        gains: (q, depth) relevance grades of the ranked documents, best rank first, 0 for irrelevant ones; depth ≥ k, or the
            number of documents.
        judged: For each query, the positive grades of its judged documents.

    Returns:
        (q,) float64.
    """
    metric, k = metric_and_cutoff(name)
    return metric.per_query(gains[:, :k].astype(np.float64), judged, k)


def _dcg(grades: list[int]) -> float:
    return float(sum(grade / np.log2(rank + 2) for rank, grade in enumerate(grades)))
