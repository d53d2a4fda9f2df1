"""Bootstrap intervals of differences, which resample queries and seeds."""

import numpy as np

RESAMPLES = 9999
AT_ONCE = 1000


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
    (tests/statistics/test_bootstrap.py measures it).

    Args:
        differences: Paired differences of each task, (comparisons, seeds, queries) float64: the same text and seed, two models.
        confidence: Nominal coverage of the intervals.
        resamples: Number of draws.

    Returns:
        Lower and upper ends, (comparisons,) each; NaN where there is a single seed and a single query.

    References:
        Rao and Wu 1988, "Resampling inference with complex survey data", https://doi.org/10.1080/01621459.1988.10478591
    """
    wide = [_widened(task) for task in differences]
    seeds, queries = wide[0].shape[1], [task.shape[2] for task in wide]
    if seeds == 1 and max(queries) == 1:
        unknown = np.full(len(wide[0]), np.nan)
        return unknown, unknown

    def mean(drawn_seeds: np.ndarray, *drawn_queries: np.ndarray, axis: int) -> np.ndarray:
        seed_shares = _shares(drawn_seeds, seeds)
        tasks = [
            np.einsum("csr,rs->cr", task @ _shares(drawn, count).T, seed_shares)
            for task, drawn, count in zip(wide, drawn_queries, queries, strict=True)
        ]
        means: np.ndarray = np.mean(tasks, axis=0)
        return means[:, 0] if drawn_seeds.ndim == 1 else means

    # SciPy resamples the positions of seeds and queries; the differences at these positions are summed for all comparisons at once.
    # SciPy needs at least two positions, so a single seed or query is passed twice; every draw then consists of it.
    from scipy import stats  # imported here because the import takes a second, which a plan need not wait for

    positions = [np.arange(count) if count > 1 else np.zeros(2, dtype=int) for count in (seeds, *queries)]
    result = stats.bootstrap(
        positions,
        mean,
        n_resamples=resamples,
        batch=AT_ONCE,
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=0,
    )
    return result.confidence_interval.low, result.confidence_interval.high


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
