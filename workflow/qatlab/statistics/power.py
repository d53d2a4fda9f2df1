"""How many queries, or seeds, would tell a difference of the size that was seen from none."""

from dataclasses import dataclass

import numpy as np

LEVEL, POWER = 0.05, 0.8


@dataclass(frozen=True)
class Needed:
    """What would do by itself, the other staying as it is; None where no number of it would.

    Attributes:
        queries: over all tasks, in the proportions that the tasks have now.
        seeds: None too where there is one only, which does not say how seeds differ.
        times: the factor on both that would do; None where no difference was seen.
    """

    queries: int | None
    seeds: int | None
    times: float | None


def needed(differences: list[np.ndarray], level: float = LEVEL, power: float = POWER) -> Needed:
    """For a two-sided test at `level` to find a true difference as large as the one seen, with probability `power`.

    Variance of a mean is that of queries over their number plus that of seeds over theirs (normal approximation, without a
    correction for many comparisons).

    Args:
        differences: of each task, (seeds, queries) float64, paired.
    """
    from scipy.stats import norm  # a second to import, which a plan does not need

    seeds = differences[0].shape[0]
    queries = sum(task.shape[1] for task in differences)
    by_seed = np.mean([task.mean(axis=1) for task in differences], axis=0)
    of_queries = sum(_variance(task.mean(axis=0)) / task.shape[1] for task in differences) / len(differences) ** 2
    of_seeds = _variance(by_seed) / seeds
    allowed = (by_seed.mean() / (norm.ppf(1 - level / 2) + norm.ppf(power))) ** 2
    return Needed(
        _scaled(queries, of_queries, allowed - of_seeds),
        _scaled(seeds, of_seeds, allowed - of_queries) if seeds > 1 else None,
        float((of_queries + of_seeds) / allowed) if allowed > 0 else None,
    )


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _scaled(count: int, variance: float, allowed: float) -> int | None:
    return int(np.ceil(count * variance / allowed)) if allowed > 0 else None
