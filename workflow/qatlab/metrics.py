"""Metrics of a ranking, per query, as defined by trec_eval (and used by BEIR and MTEB).

Their formulas are in `qatlab.ranked`. A configuration names one with its cutoff, such as ndcg@10. A metric is one class, a subclass
of `Metric` that is registered here; an installed package adds one by the entry point `qatlab.metrics`.
"""

import numpy as np

from qatlab import ranked
from qatlab.config.evaluate import METRICS, Metric, metric_and_cutoff


@METRICS.register("ndcg")
class Ndcg(Metric):
    """Normalized discounted cumulative gain: gains divided by log2(rank + 1), over those of the ideal ranking."""

    label, trec, mteb = "nDCG", "ndcg_cut_{}", "ndcg_at_{}"

    def per_query(self, gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
        """Compute the metric of each query's ranking."""
        return ranked.ndcg(gains, judged, k)


@METRICS.register("mrr")
class ReciprocalRank(Metric):
    """Reciprocal of the rank of the first relevant document; 0 where none is among the k best."""

    label, trec, mteb = "MRR", "recip_rank", "mrr_at_{}"

    def per_query(self, gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
        """Compute the metric of each query's ranking."""
        return ranked.reciprocal_rank(gains, judged, k)


@METRICS.register("recall")
class Recall(Metric):
    """Share of the relevant documents that are among the k best."""

    label, trec, mteb = "Recall", "recall_{}", "recall_at_{}"

    def per_query(self, gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
        """Compute the metric of each query's ranking."""
        return ranked.recall(gains, judged, k)


@METRICS.register("accuracy")
class Accuracy(Metric):
    """1 where a relevant document is among the k best, else 0; success in trec_eval."""

    label, trec, mteb = "Accuracy", "success_{}", "hit_rate_at_{}"

    def per_query(self, gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
        """Compute the metric of each query's ranking."""
        return ranked.accuracy(gains, judged, k)


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
