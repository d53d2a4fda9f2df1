"""Intervals of differences by resampling queries and seeds."""

import numpy as np

RESAMPLES = 9999
AT_ONCE = 1000


def bootstrap_intervals(
    differences: list[np.ndarray], confidence: float = 0.95, resamples: int = RESAMPLES
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile intervals of the mean over tasks of the mean over seeds and queries.

    Seeds and, within each task, queries are drawn with replacement. The queries of every seed are the same ones, so a draw of
    them holds for all seeds: drawn apart in each, their luck would average out over seeds, which it does not.

    With one seed the interval is of these trained models over other queries; it says nothing of other trainings. With few,
    a draw of S seeds spreads √((S − 1) / S) times too little (2/3 of the variance for three), so deviations of seeds are
    widened by its inverse first (Rao and Wu 1988). Three are few all the same: where they leave as large an error as queries do,
    nine intervals in ten hold the truth, not nineteen in twenty (tests/statistics/test_bootstrap.py measures it).

    Args:
        differences: of each task, (comparisons, seeds, queries) float64, paired: one text, one seed, two models.

    Returns:
        Lower and upper ends, (comparisons,) each.

    References:
        Rao and Wu 1988, "Resampling inference with complex survey data", https://doi.org/10.1080/01621459.1988.10478591
    """
    wide = [_widened(task) for task in differences]
    seeds, queries = wide[0].shape[1], [task.shape[2] for task in wide]
    if seeds == 1 and max(queries) == 1:
        unknown = np.full(len(wide[0]), np.nan)
        return unknown, unknown

    def mean(drawn_seeds: np.ndarray, *drawn_queries: np.ndarray, axis: int) -> np.ndarray:
        of_seeds = _shares(drawn_seeds, seeds)
        tasks = [
            np.einsum("csr,rs->cr", task @ _shares(drawn, count).T, of_seeds)
            for task, drawn, count in zip(wide, drawn_queries, queries, strict=True)
        ]
        means: np.ndarray = np.mean(tasks, axis=0)
        return means[:, 0] if drawn_seeds.ndim == 1 else means

    # SciPy resamples the positions of seeds and queries; what they stand for is summed for all comparisons at once.
    # It wants two of each at least: a single one is given twice, and so is always drawn whole.
    from scipy import stats  # a second to import, which a plan does not need

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
    of_seeds = task.mean(axis=2, keepdims=True)
    deviations: np.ndarray = of_seeds - of_seeds.mean(axis=1, keepdims=True)
    return task + (np.sqrt(seeds / (seeds - 1)) - 1) * deviations


def _shares(drawn: np.ndarray, count: int) -> np.ndarray:
    """How often each of `count` positions was drawn, as a share of the draws: (n,) or (r, n) positions to (r, count)."""
    rows = np.atleast_2d(drawn)
    flat = (rows + np.arange(len(rows))[:, None] * count).ravel()
    return np.bincount(flat, minlength=len(rows) * count).reshape(len(rows), count) / rows.shape[1]
