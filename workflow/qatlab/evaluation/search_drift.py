"""What drift of embeddings does to a search with them."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from qatlab.evaluation.axes import unit_length

TOP = 10  # documents that a user sees
DEPTH = 100  # documents whose order Kendall's τ compares
SCORES_AT_ONCE = 1 << 24  # 128 MB of float64


@dataclass(frozen=True)
class SearchDrift:
    """What drift does to cosine-similarity search: means over queries.

    Attributes:
        top10_overlap: share of the ten best documents that stay among them.
        rank_flips: share of the pairs among the ten best before that stand in the other order after (ties count half).
        margin_change: by how much the best relevant document's lead over the best irrelevant one grows, in cosine similarity.
        kendall_tau: τ-b of the scores of the hundred best documents before, before against after.
    """

    top10_overlap: float
    rank_flips: float
    margin_change: float
    kendall_tau: float


def search_drift(
    queries: tuple[np.ndarray, np.ndarray], documents: tuple[np.ndarray, np.ndarray], relevant: list[np.ndarray]
) -> SearchDrift:
    """Searches with the embeddings before and after, and compares.

    Args:
        queries: before and after, (q, dim) float32 each.
        documents: before and after, (d, dim) float32 each, d ≥ 2.
        relevant: of each query, the positions of its relevant documents; queries without any, or without an irrelevant
            document, are left out of margin_change, which is NaN where none is left.
    """
    query_pair = [unit_length(side).astype(np.float64) for side in queries]
    document_pair = [unit_length(side).astype(np.float64) for side in documents]
    rows = []
    at_once = max(1, SCORES_AT_ONCE // len(document_pair[0]))
    for start in range(0, len(relevant), at_once):
        block = slice(start, start + at_once)
        before, after = (q[block] @ d.T for q, d in zip(query_pair, document_pair, strict=True))
        rows += [_of_query(*scores) for scores in zip(before, after, relevant[block], strict=True)]
    overlap, flips, margins, tau = np.array(rows).T
    known = margins[~np.isnan(margins)]
    return SearchDrift(
        float(overlap.mean()),
        float(flips.mean()),
        float(known.mean()) if len(known) else float("nan"),
        float(np.nanmean(tau)) if not np.isnan(tau).all() else float("nan"),
    )


def _of_query(before: np.ndarray, after: np.ndarray, relevant: np.ndarray) -> tuple[float, float, float, float]:
    order = _best(before, DEPTH)
    best, best_after = order[:TOP], _best(after, TOP)
    overlap = len(np.intersect1d(best, best_after)) / len(best)
    first, second = np.triu_indices(len(best), 1)
    kept = np.sign(after[best][first] - after[best][second])
    flips = float(np.mean((1 - kept) / 2))
    tau = kendalltau(before[order], after[order]).statistic
    return overlap, flips, _margin(after, relevant) - _margin(before, relevant), float(tau)


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Positions of the highest scores, best first; equal scores in the order of documents."""
    count = min(count, len(scores))
    kept = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    best: np.ndarray = kept[np.argsort(-scores[kept], kind="stable")][:count]
    return best


def _margin(scores: np.ndarray, relevant: np.ndarray) -> float:
    irrelevant = np.ones(len(scores), dtype=bool)
    irrelevant[relevant] = False
    if irrelevant.all() or not irrelevant.any():
        return float("nan")
    return float(scores[~irrelevant].max() - scores[irrelevant].max())
