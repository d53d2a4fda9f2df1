"""Verdicts on the differences of one table (better, worse or not separable), corrected for multiple comparisons."""

from dataclasses import dataclass

import numpy as np

from qatlab.statistics.bootstrap import bootstrap_intervals
from qatlab.statistics.permutation import permutation_p_values
from qatlab.statistics.power import LEVEL, Needed, needed

BETTER, WORSE, NOT_SEPARABLE = "better", "worse", "not separable"


@dataclass(frozen=True)
class Verdict:
    """The verdict on one difference, with the statistics that it follows from.

    Attributes:
        difference: Mean over tasks of the mean over seeds and queries.
        low, high: Its 95 % interval over queries and seeds.
        p: p-value of the permutation test over queries, with Holm's correction for all differences of the table.
        word: 'better' or 'worse' where p is below 0.05 and the interval excludes 0; otherwise 'not separable'.
        needed: Numbers of queries and seeds that would separate a difference of this size from 0.
    """

    difference: float
    low: float
    high: float
    p: float
    word: str
    needed: Needed


def verdicts(
    differences: list[list[np.ndarray]], lower_is_better: bool = False, planned: int | None = None
) -> list[Verdict]:
    """Return the verdict on each difference of a table.

    Args:
        differences: For each difference, the paired differences of each task, (seeds, queries) float64.
        lower_is_better: Whether the compared metric is a cost, such as bits per byte.
        planned: Number of differences of the complete table, where runs have failed. The present ones are then corrected as if
            each missing one had a p-value of 1, so that failures do not weaken the correction.
    """
    if not differences:
        return []
    ends, p_values = np.empty((len(differences), 2)), np.empty(len(differences))
    for same_shape in _by_shape(differences):
        stacked = [np.stack(tasks) for tasks in zip(*(differences[at] for at in same_shape), strict=True)]
        ends[same_shape] = np.stack(bootstrap_intervals(stacked), axis=1)
        p_values[same_shape] = permutation_p_values(stacked)
    missing = np.ones((planned or len(differences)) - len(differences))
    corrected = holm(np.concatenate([p_values, missing]))[: len(differences)]
    return [
        _verdict(tasks, low, high, p, lower_is_better)
        for tasks, (low, high), p in zip(differences, ends.tolist(), corrected, strict=True)
    ]


def holm(p_values: np.ndarray) -> np.ndarray:
    """Correct p-values (n,) for multiple comparisons with Holm's method, which controls the family-wise error rate.

    References:
        Holm 1979, "A simple sequentially rejective multiple test procedure", https://www.jstor.org/stable/4615733
    """
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    # The smallest p-value is multiplied by n, the next by n − 1, and so on; none may be less than one before it.
    corrected[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    return np.minimum(corrected, 1.0)


def _by_shape(differences: list[list[np.ndarray]]) -> list[list[int]]:
    """Group the positions of differences with equal numbers of seeds, tasks and queries, which are resampled together."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for at, tasks in enumerate(differences):
        groups.setdefault(tuple(task.shape for task in tasks), []).append(at)
    return list(groups.values())


def _verdict(tasks: list[np.ndarray], low: float, high: float, p: float, lower_is_better: bool) -> Verdict:
    difference = float(np.mean([task.mean() for task in tasks]))
    word = NOT_SEPARABLE
    if p < LEVEL and (low > 0 or high < 0):
        word = BETTER if (difference < 0) == lower_is_better else WORSE
    return Verdict(difference, low, high, float(p), word, needed(tasks))
