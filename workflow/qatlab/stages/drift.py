"""Stage drift: how far a deployment's embeddings are from the reference's, text by text, and what this changes in a search."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from qatlab.artifact import load_array, write_json
from qatlab.deployments.deployment import cosine
from qatlab.errors import UserError
from qatlab.evaluation.axes import unit_length
from qatlab.evaluation.task import Task, load_task
from qatlab.job import JobDescription

TOP = 10  # number of documents that a user sees
DEPTH = 100  # number of documents whose order Kendall's τ compares
SCORES_AT_ONCE = 1 << 24  # 128 MB of float64


@dataclass(frozen=True)
class SearchDrift:
    """The effect of drift on search by cosine similarity, as means over queries.

    Attributes:
        top10_overlap: Share of the ten best documents before the drift that are among the ten best after it.
        rank_flips: Share of the pairs of the ten best documents before the drift whose order is reversed after it (ties count half).
        margin_change: Increase of the difference between the best relevant and the best irrelevant document's cosine similarity.
        kendall_tau: τ-b between the scores before and after the drift of the hundred documents that were best before it.
    """

    top10_overlap: float
    rank_flips: float
    margin_change: float
    kendall_tau: float


def search_drift(
    queries: tuple[np.ndarray, np.ndarray], documents: tuple[np.ndarray, np.ndarray], relevant: list[np.ndarray]
) -> SearchDrift:
    """Search with the embeddings before and after a drift, and compare the results.

    Args:
        queries: Query embeddings before and after, (q, dim) float32 each.
        documents: Document embeddings before and after, (d, dim) float32 each, d ≥ 2.
        relevant: For each query, the positions of its relevant documents. Queries without relevant or without irrelevant
            documents are excluded from margin_change, which is NaN if no query remains.
    """
    query_pair = [unit_length(side).astype(np.float64) for side in queries]
    document_pair = [unit_length(side).astype(np.float64) for side in documents]
    rows = []
    at_once = max(1, SCORES_AT_ONCE // len(document_pair[0]))
    for start in range(0, len(relevant), at_once):
        block = slice(start, start + at_once)
        before, after = (q[block] @ d.T for q, d in zip(query_pair, document_pair, strict=True))
        rows += [_query_drift(*scores) for scores in zip(before, after, relevant[block], strict=True)]
    overlap, flips, margins, tau = np.array(rows).T
    defined = margins[~np.isnan(margins)]
    return SearchDrift(
        float(overlap.mean()),
        float(flips.mean()),
        float(defined.mean()) if len(defined) else float("nan"),
        float(np.nanmean(tau)) if not np.isnan(tau).all() else float("nan"),
    )


def _query_drift(before: np.ndarray, after: np.ndarray, relevant: np.ndarray) -> tuple[float, float, float, float]:
    order = _best(before, DEPTH)
    best, best_after = order[:TOP], _best(after, TOP)
    overlap = len(np.intersect1d(best, best_after)) / len(best)
    first, second = np.triu_indices(len(best), 1)
    signs = np.sign(after[best][first] - after[best][second])  # 1 for pairs that keep their order
    flips = float(np.mean((1 - signs) / 2))
    tau = kendalltau(before[order], after[order]).statistic
    return overlap, flips, _margin(after, relevant) - _margin(before, relevant), float(tau)


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the highest scores, best first; ties keep the order of documents."""
    count = min(count, len(scores))
    candidates = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    best: np.ndarray = candidates[np.argsort(-scores[candidates], kind="stable")][:count]
    return best


def _margin(scores: np.ndarray, relevant: np.ndarray) -> float:
    irrelevant = np.ones(len(scores), dtype=bool)
    irrelevant[relevant] = False
    if irrelevant.all() or not irrelevant.any():
        return float("nan")
    return float(scores[~irrelevant].max() - scores[irrelevant].max())


TABLES = {"documents": ("documents",), "queries": ("queries",), "all": ("documents", "queries")}


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write drift.json and cosines.npy, (n,) float64.

    drift.json has minimum, maximum and mean of the cosine similarity, mean distance and n, as published studies report them; for a task,
    also the results of `search_drift` for searches with its queries.
    """
    config = description.config
    is_task = "task" in inputs
    texts = config["texts"] if is_task else "documents"
    pairs = {name: _pair(inputs, name) for name in (("documents", "queries") if is_task else ("documents",))}
    before, after = (np.concatenate([pairs[name][side] for name in TABLES[texts]]) for side in (0, 1))
    if before.shape != after.shape:
        raise UserError(
            f"embeddings of {before.shape[1]} and {after.shape[1]} dimensions cannot be compared; "
            "leave one of the two deployments out, or change drift.reference"
        )
    cosines = cosine(before[: config["limit"]], after[: config["limit"]])
    np.save(output / "cosines.npy", cosines)
    results: dict[str, object] = {
        "min": float(cosines.min()),
        "max": float(cosines.max()),
        "mean": float(cosines.mean()),
        "mean_distance": float(1 - cosines.mean()),
        "n": len(cosines),
        "texts": texts,
    }
    task = load_task(inputs["task"]) if is_task else None
    if task is not None and task.kind != "similarity" and len(task.document_ids) > 1:
        searched = asdict(search_drift(pairs["queries"], pairs["documents"], _relevant(task)))
        results |= {name: None if np.isnan(value) else value for name, value in searched.items()}
    write_json(output / "drift.json", results)


def _pair(inputs: dict[str, Path], name: str) -> tuple[np.ndarray, np.ndarray]:
    before, after = (load_array(inputs[role] / f"{name}.npy") for role in ("reference", "encode"))
    return before, after


def _relevant(task: Task) -> list[np.ndarray]:
    """Return the positions of each query's relevant documents, in the order of the task's tables."""
    position = {identifier: index for index, identifier in enumerate(task.document_ids)}
    return [
        np.array([position[name] for name in task.relevant(query) if name in position], dtype=np.int64)
        for query in task.query_ids
    ]
