"""A figure that is no mean over texts, in parts that are: so that it can be resampled and compared as a query's figures are."""

import numpy as np


def parts(whole: float, without: np.ndarray) -> np.ndarray:
    """Each text's part: jackknife pseudo-values, moved so that their mean is the figure itself.

    Pseudo-values (n times the figure less n − 1 times that without the text) vary as its sampling error does.

    Args:
        whole: the figure of all texts.
        without: (n,) float64, the figure of all others, for each text; three texts less one tell little: from 4 on.

    Returns:
        (n,) float64.

    References:
        Efron and Stein 1981, "The jackknife estimate of variance", https://doi.org/10.1214/aos/1176345462
    """
    count = len(without)
    pseudo = count * whole - (count - 1) * without
    moved: np.ndarray = pseudo - pseudo.mean() + whole
    return moved
