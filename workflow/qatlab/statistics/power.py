"""Numbers of queries or seeds that are required to separate a difference of the observed size from 0."""

from dataclasses import dataclass

import numpy as np

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
