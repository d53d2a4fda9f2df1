"""The best documents of each query, at one output precision, in a defined order."""

import numpy as np

from qatlab.quantization.grids import dequantize_embeddings, quantize_embeddings
from qatlab.quantization.ranges import MinMaxRange

QUERIES_AT_ONCE = 256
SCORING = {"float32": "dot", "int8": "dequantized", "binary": "hamming"}


def rank(queries: np.ndarray, documents: np.ndarray, precision: str, ranges: str, depth: int) -> np.ndarray:
    """Indices of the `depth` best documents of each query, best first; equal scores keep the documents' order.

    Args:
        queries, documents: (q, dim) and (d, dim) float32, unit length.
        precision: 'float32', 'int8' or 'binary', of both sides.
        ranges: int8's per-dimension minimum and maximum: of the documents for both sides ('corpus'),
            or of each side by itself ('per_call', for comparison with other libraries).

    Returns:
        (q, min(depth, d)) int64.
    """
    queries, documents = on_grid(queries, documents, precision, ranges)
    best = np.empty((len(queries), min(depth, len(documents))), dtype=np.int64)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        scores = queries[start : start + QUERIES_AT_ONCE] @ documents.T
        best[start : start + QUERIES_AT_ONCE] = np.argsort(-scores, axis=1, kind="stable")[:, : best.shape[1]]
    return best


def unit_length(embeddings: np.ndarray) -> np.ndarray:
    """Each row divided by its Euclidean length, float32; an all-zero row stays as it is."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def on_grid(queries: np.ndarray, documents: np.ndarray, precision: str, ranges: str) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as float32 values of their codes. Dot products of ±1 order documents as Hamming distance does."""
    document_range = MinMaxRange().fit(documents)
    query_range = MinMaxRange().fit(queries) if ranges == "per_call" else document_range
    sides = ((queries, query_range), (documents, document_range))
    on = [
        dequantize_embeddings(quantize_embeddings(side, precision, r), precision, r, dim=side.shape[1])
        for side, r in sides
    ]
    return on[0], on[1]
