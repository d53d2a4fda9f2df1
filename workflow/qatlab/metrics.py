"""Metrics of a ranking, per query, as defined by trec_eval (and used by BEIR and MTEB), and the registry of them.

A configuration names one with its cutoff, such as ndcg@10. A metric is one class, registered where it is defined; an installed package
adds one by the entry point `qatlab.metrics`.
"""

import re
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from qatlab.registry import Registry

NAMED = re.compile(r"([A-Za-z]\w*)@([1-9]\d*)")


class Metric(ABC):
    """A metric of the k best documents of each query.

    Attributes:
        label: its name in tables and plots, before "@k".
        trec: its name in trec_eval, with {} for the cutoff, by which mteb's own results contain it; None if they do not.
        mteb: its name in mteb's result files, with {} for the cutoff; None if they do not contain it.
    """

    label: ClassVar[str]
    trec: ClassVar[str | None] = None
    mteb: ClassVar[str | None] = None

    @abstractmethod
    def per_query(self, gains: np.ndarray, judged: list[list[int]], k: int) -> np.ndarray:
        """Compute the metric of each query's ranking.

        Args:
            gains: (q, min(depth, k)) relevance grades of the ranked documents, best rank first, 0 for irrelevant ones.
            judged: For each query, the positive grades of its judged documents.
            k: The cutoff.

        Returns:
            (q,) float64.
        """


METRICS: Registry[type[Metric]] = Registry("metric", "qatlab.metrics", key="name")


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


def metric_and_cutoff(name: str) -> tuple[Metric, int]:
    """Return the metric and the cutoff of a name such as 'ndcg@10'; raise ValueError for an unknown one."""
    match = NAMED.fullmatch(name)
    if match is None or match.group(1) not in METRICS.names():
        valid = ", ".join(f"{known}@k" for known in METRICS.names())
        raise ValueError(f"unknown metric '{name}'; valid: {valid} with k ≥ 1")
    return METRICS.get(match.group(1))(), int(match.group(2))


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
