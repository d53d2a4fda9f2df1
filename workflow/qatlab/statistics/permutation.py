"""p-values of differences by flipping their signs."""

import numpy as np

RESAMPLES = 9999
AT_ONCE = 1000


def permutation_p_values(differences: list[np.ndarray], resamples: int = RESAMPLES) -> np.ndarray:
    """Two-sided paired permutation test of the mean over tasks of the mean over seeds and queries.

    Where two models are alike, either could have given either of a query's two values: swapping them flips the sign of the
    difference. A query is swapped in all seeds together. This is `scipy.stats.permutation_test(permutation_type="samples")`
    on the means over seeds, by signs, which is the same test a hundred times sooner.

    Args:
        differences: of each task, (comparisons, seeds, queries) float64, paired.

    Returns:
        (comparisons,) float64, 1 / (resamples + 1) at least, times two.
    """
    # A task counts as much as another, however many queries it has.
    weighted = np.concatenate([task.mean(axis=1) / (task.shape[2] * len(differences)) for task in differences], axis=1)
    return np.array([_p_value(of_queries, resamples) for of_queries in weighted])


def _p_value(differences: np.ndarray, resamples: int) -> float:
    if not differences.any():
        return 1.0
    rng = np.random.default_rng(0)

    def signs(size: tuple[int, int]) -> np.ndarray:
        return rng.integers(0, 2, size=size, dtype=np.int8) * 2.0 - 1.0

    def total(flipped: np.ndarray, axis: int) -> np.ndarray:
        return flipped @ differences

    from scipy import stats  # a second to import, which a plan does not need

    as_they_are = np.ones(len(differences))
    result = stats.monte_carlo_test(as_they_are, signs, total, vectorized=True, n_resamples=resamples, batch=AT_ONCE)
    return float(result.pvalue)
