"""Cosine similarity of two embeddings of the same text."""

import numpy as np


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine similarity of each row of `a` with the same row of `b`, (n,) float64.

    Raises:
        ValueError: For arrays of different shapes, or an all-zero row.
    """
    if a.shape != b.shape:
        raise ValueError(f"embeddings of shape {a.shape} and {b.shape} cannot be compared text by text")
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if not lengths.all():
        raise ValueError("a text has an all-zero embedding, which has no cosine similarity")
    return np.clip((a * b).sum(axis=1) / lengths, -1.0, 1.0)
