"""Better, worse or not separable: what the differences of one table say, all of them weighed together."""

from dataclasses import dataclass

import numpy as np

from qatlab.statistics.bootstrap import bootstrap_intervals
from qatlab.statistics.permutation import permutation_p_values
from qatlab.statistics.power import LEVEL, Needed, needed

BETTER, WORSE, NOT_SEPARABLE = "better", "worse", "not separable"


@dataclass(frozen=True)
class Verdict:
    """Of one difference.

    Attributes:
        difference: mean over tasks of the mean over seeds and queries.
        low, high: its 95 % interval, over queries and seeds.
        p: of the permutation test over queries, with Holm's correction for all differences of the table.
        word: better or worse where p is below 0.05 and the interval leaves 0 out; else not separable.
        needed: what would tell a difference of this size from none.
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
    """One for each difference of a table.

    Args:
        differences: of each, of each task, (seeds, queries) float64, paired.
        lower_is_better: whether what is compared is a cost, such as bits per byte.
        planned: how many differences the table should have, where runs have failed: it is no less a table of that many, so those
            that are there are corrected as if the others could not be told from none.

    """
    if not differences:
        return []
    ends, p_values = np.empty((len(differences), 2)), np.empty(len(differences))
    for alike in _by_shape(differences):
        stacked = [np.stack(tasks) for tasks in zip(*(differences[at] for at in alike), strict=True)]
        ends[alike] = np.stack(bootstrap_intervals(stacked), axis=1)
        p_values[alike] = permutation_p_values(stacked)
    lacking = np.ones((planned or len(differences)) - len(differences))
    corrected = holm(np.concatenate([p_values, lacking]))[: len(differences)]
    return [
        _verdict(tasks, low, high, p, lower_is_better)
        for tasks, (low, high), p in zip(differences, ends.tolist(), corrected, strict=True)
    ]


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values (n,) corrected for being n: each is below a level only if the chance of any error among them is below it too.

    References:
        Holm 1979, "A simple sequentially rejective multiple test procedure", https://www.jstor.org/stable/4615733
    """
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    # The smallest counts n times, the next n − 1 times; none may fall below one before it.
    corrected[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    return np.minimum(corrected, 1.0)


def _by_shape(differences: list[list[np.ndarray]]) -> list[list[int]]:
    """Positions of those with as many seeds, tasks and queries: they are resampled together."""
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
