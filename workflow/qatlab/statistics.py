"""Statistics of differences: confidence intervals, p-values, the queries or seeds that a decision would need, and verdicts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 9999
AT_ONCE = 1000
ROUNDING = 1e-12  # bound of the rounding error of a sum, relative to the sum of absolute values


def bootstrap_intervals(
    differences: list[np.ndarray], confidence: float = 0.95, resamples: int = RESAMPLES
) -> tuple[np.ndarray, np.ndarray]:
    """Compute percentile intervals of the mean over tasks of the mean over seeds and queries.

    Seeds and, within each task, queries are drawn with replacement. All seeds are evaluated on the same queries, so a draw of
    queries applies to all seeds. Independent draws for each seed would let the error of the queries average out over seeds, which
    it does not.

    With one seed, the interval covers the variation of queries for these trained models, and not that of other trainings. With few
    seeds, a draw of S seeds varies √((S − 1) / S) times too little (2/3 of the variance for three), so the deviations of seeds are
    widened by the inverse of this factor first (Rao and Wu 1988). The correction is incomplete for three seeds: where their error is
    as large as that of the queries, the intervals cover the truth in 90 % and not in 95 % of the cases
    (tests/test_bootstrap.py measures it).

    Args:
        differences: Paired differences of each task, (comparisons, seeds, queries) float64: the same text and seed, two models.
        confidence: Nominal coverage of the intervals.
        resamples: Number of draws.

    Returns:
        Lower and upper ends, (comparisons,) each; NaN where there is a single seed and a single query.

    References:
        Rao and Wu 1988, "Resampling inference with complex survey data", https://doi.org/10.1080/01621459.1988.10478591
    """
    if _is_single(differences):
        unknown = np.full(len(differences[0]), np.nan)
        return unknown, unknown
    interval = _bootstrap(differences, confidence, resamples).confidence_interval
    return interval.low, interval.high


def simultaneous_intervals(
    differences: list[list[np.ndarray]], confidence: float = 0.95, resamples: int = RESAMPLES
) -> tuple[np.ndarray, np.ndarray]:
    """Compute intervals that cover all means at once with the nominal probability, so that one of them may be chosen by its interval.

    The half width of each interval is a common multiple of the standard error of its bootstrap. The multiple is the quantile of the
    largest studentized deviation among all comparisons in a resample, which takes their correlation into account. Comparisons with
    other numbers of seeds, tasks or queries are resampled separately, and their groups share the error probability equally.

    Args:
        differences: For each comparison, the paired differences of each task, (seeds, queries) float64.
        confidence: Nominal probability that all intervals cover.
        resamples: Number of draws.

    Returns:
        Lower and upper ends, (comparisons,) each; NaN where there is a single seed and a single query.

    References:
        Westfall and Young 1993, "Resampling-based multiple testing", section 2.5 (single-step maxT)
    """
    low, high = np.full((2, len(differences)), np.nan)
    groups = _by_shape(differences)
    for group in groups:
        stacked = [np.stack(tasks) for tasks in zip(*(differences[at] for at in group), strict=True)]
        if not _is_single(stacked):
            level = 1 - (1 - confidence) / len(groups)
            low[group], high[group] = _simultaneous(stacked, level, resamples)
    return low, high


def _simultaneous(differences: list[np.ndarray], confidence: float, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    draws = _bootstrap(differences, confidence, resamples, _one_product).bootstrap_distribution
    means = np.mean([task.mean(axis=(1, 2)) for task in differences], axis=0)
    errors = draws.std(axis=1, ddof=1)
    largest = np.zeros(draws.shape[1])
    for deviations, mean, error in zip(draws, means, errors, strict=True):
        if error > 0:  # the same results in both variants have no error
            largest = np.maximum(largest, np.abs(deviations - mean) / error)
    half = np.quantile(largest, confidence) * errors
    return means - half, means + half


def _is_single(differences: list[np.ndarray]) -> bool:
    """Return whether there is one seed and one query per task, of which nothing can be resampled."""
    return differences[0].shape[1] == 1 and max(task.shape[2] for task in differences) == 1


def _one_product(task: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Multiply (comparisons, seeds, queries) by (queries, resamples) as one matrix, much faster than as one matrix per comparison."""
    product: np.ndarray = task.reshape(-1, task.shape[2]) @ shares
    return product.reshape(*task.shape[:2], -1)


Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _bootstrap(differences: list[np.ndarray], confidence: float, resamples: int, multiply: Product = np.matmul) -> Any:
    """Return SciPy's bootstrap of the means, with its percentile intervals and the distribution, (comparisons, resamples).

    Args:
        differences: Paired differences of each task, (comparisons, seeds, queries) float64.
        confidence: Nominal coverage of the intervals.
        resamples: Number of draws.
        multiply: Product of a task's differences with the shares of resampled queries. Results of other products differ in last digits.
    """
    wide = [_widened(task) for task in differences]
    seeds, queries = wide[0].shape[1], [task.shape[2] for task in wide]

    def mean(drawn_seeds: np.ndarray, *drawn_queries: np.ndarray, axis: int) -> np.ndarray:
        seed_shares = _shares(drawn_seeds, seeds)
        tasks = [
            np.einsum("csr,rs->cr", multiply(task, _shares(drawn, count).T), seed_shares)
            for task, drawn, count in zip(wide, drawn_queries, queries, strict=True)
        ]
        means: np.ndarray = np.mean(tasks, axis=0)
        return means[:, 0] if drawn_seeds.ndim == 1 else means

    # SciPy resamples the positions of seeds and queries; the differences at these positions are summed for all comparisons at once.
    # SciPy needs at least two positions, so a single seed or query is passed twice; every draw then consists of it.
    from scipy import stats  # imported here because the import takes a second, which a plan need not wait for

    positions = [np.arange(count) if count > 1 else np.zeros(2, dtype=int) for count in (seeds, *queries)]
    return stats.bootstrap(
        positions,
        mean,
        n_resamples=resamples,
        batch=AT_ONCE,
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=0,
    )


def _widened(task: np.ndarray) -> np.ndarray:
    seeds = task.shape[1]
    if seeds == 1:
        return task
    seed_means = task.mean(axis=2, keepdims=True)
    deviations: np.ndarray = seed_means - seed_means.mean(axis=1, keepdims=True)
    return task + (np.sqrt(seeds / (seeds - 1)) - 1) * deviations


def _shares(drawn: np.ndarray, count: int) -> np.ndarray:
    """Return how often each of `count` positions was drawn as a share of the draws: (n,) or (r, n) positions to (r, count)."""
    rows = np.atleast_2d(drawn)
    flat = (rows + np.arange(len(rows))[:, None] * count).ravel()
    return np.bincount(flat, minlength=len(rows) * count).reshape(len(rows), count) / rows.shape[1]


def permutation_p_values(differences: list[np.ndarray], resamples: int = RESAMPLES) -> np.ndarray:
    """Compute p-values of the two-sided paired permutation test of the mean over tasks of the mean over seeds and queries.

    If two models are equivalent, each of a query's two values could be from either model, and swapping them flips the sign of the
    difference. A query is swapped in all seeds at once. The test is `scipy.stats.permutation_test(permutation_type="samples")`
    on the means over seeds; flipping signs, the same ones for all comparisons, is faster than permuting each of them.

    Args:
        differences: Paired differences of each task, (comparisons, seeds, queries) float64.
        resamples: Number of random sign flips.

    Returns:
        (comparisons,) float64, at least 2 / (resamples + 1).
    """
    # Every task has the same weight, regardless of its number of queries.
    weighted = np.concatenate([task.mean(axis=1) / (task.shape[2] * len(differences)) for task in differences], axis=1)
    observed = weighted.sum(axis=1)
    # Sums of the same terms in another order differ by rounding errors, and count as equal.
    rounding = ROUNDING * np.abs(weighted).sum(axis=1)
    rng = np.random.default_rng(0)
    below, above = np.zeros((2, len(weighted)), dtype=int)
    for first in range(0, resamples, AT_ONCE):
        flips = rng.integers(0, 2, size=(min(AT_ONCE, resamples - first), weighted.shape[1]), dtype=np.int8)
        totals = (flips * 2.0 - 1.0) @ weighted.T
        below += (totals <= observed + rounding).sum(axis=0)
        above += (totals >= observed - rounding).sum(axis=0)
    return np.minimum(1.0, 2 * (np.minimum(below, above) + 1) / (resamples + 1))


LEVEL, POWER = 0.05, 0.8


@dataclass(frozen=True)
class Needed:
    """Required numbers of queries and of seeds, each with the other unchanged; None where no number is sufficient.

    Attributes:
        queries: Number of queries over all tasks, in the proportions of the present tasks.
        seeds: Number of seeds; also None where there is a single seed, from which the variance of seeds is unknown.
        times: Factor on both numbers that is sufficient; None where the observed difference is 0.
    """

    queries: int | None
    seeds: int | None
    times: float | None


def needed(differences: list[np.ndarray], level: float = LEVEL, power: float = POWER) -> Needed:
    """Estimate the numbers of queries and seeds with which a two-sided test finds a difference of the observed size.

    The variance of a mean is that of queries over their number plus that of seeds over theirs (normal approximation, without a
    correction for multiple comparisons).

    Args:
        differences: Paired differences of each task, (seeds, queries) float64.
        level: Significance level of the test.
        power: Probability with which the test finds the difference.
    """
    from scipy.stats import norm  # imported here because the import takes a second, which a plan need not wait for

    seeds = differences[0].shape[0]
    queries = sum(task.shape[1] for task in differences)
    by_seed = np.mean([task.mean(axis=1) for task in differences], axis=0)
    query_variance = sum(_variance(task.mean(axis=0)) / task.shape[1] for task in differences) / len(differences) ** 2
    seed_variance = _variance(by_seed) / seeds
    allowed = (by_seed.mean() / (norm.ppf(1 - level / 2) + norm.ppf(power))) ** 2
    return Needed(
        _scaled(queries, query_variance, allowed - seed_variance),
        _scaled(seeds, seed_variance, allowed - query_variance) if seeds > 1 else None,
        float((query_variance + seed_variance) / allowed) if allowed > 0 else None,
    )


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _scaled(count: int, variance: float, allowed: float) -> int | None:
    return int(np.ceil(count * variance / allowed)) if allowed > 0 else None


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
