"""Jackknife pseudo-values, which represent a metric of a whole corpus as a mean over texts that can be resampled and compared."""

import numpy as np


def parts(whole: float, without: np.ndarray) -> np.ndarray:
    """Compute the jackknife pseudo-value of each text, shifted so that their mean is the metric of all texts.

    The variance of pseudo-values (n times the metric minus n − 1 times the metric without the text) estimates the metric's sampling
    error.

    Args:
        whole: The metric of all texts.
        without: (n,) float64, for each text the metric of all others; n should be at least 4, because the metric of two texts has
            little meaning.

    Returns:
        (n,) float64.

    References:
        Efron and Stein 1981, "The jackknife estimate of variance", https://doi.org/10.1214/aos/1176345462
    """
    count = len(without)
    pseudo = count * whole - (count - 1) * without
    shifted: np.ndarray = pseudo - pseudo.mean() + whole
    return shifted
