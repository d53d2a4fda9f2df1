"""Bits per byte, the size of a text compressed by a language model, which does not depend on the tokenizer."""

import numpy as np

from qatlab.evaluation.scores_file import parts

FEW = 4  # with fewer documents, each document gets the value of all


def bits_per_byte(nats: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Compute the bits of all documents over their bytes, as one value per document whose mean it is.

    The values of documents are jackknife pseudo-values (`jackknife.parts`).

    Args:
        nats: (n,) float64, −ln of each document's probability.
        sizes: (n,) number of bytes of each document in UTF-8.

    Returns:
        (n,) float64.
    """
    bits, total = nats / np.log(2), float(sizes.sum())
    whole = float(bits.sum() / total)
    if len(nats) < FEW:
        return np.full(len(nats), whole)
    return parts(whole, (bits.sum() - bits) / (total - sizes))
