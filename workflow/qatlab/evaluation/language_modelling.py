"""Bits per byte: what a text would take if the model compressed it; whatever its tokens are."""

import numpy as np

from qatlab.evaluation.jackknife import parts

FEW = 4  # documents; fewer tell nothing of one another


def bits_per_byte(nats: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Each document's part in the bits of all documents over their bytes, (n,) float64 whose mean that is.

    Args:
        nats: (n,) float64, −ln of each document's probability.
        sizes: (n,) its bytes of UTF-8.
    """
    bits, total = nats / np.log(2), float(sizes.sum())
    whole = float(bits.sum() / total)
    if len(nats) < FEW:
        return np.full(len(nats), whole)
    return parts(whole, (bits.sum() - bits) / (total - sizes))
