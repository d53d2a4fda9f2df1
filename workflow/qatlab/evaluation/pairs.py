"""Scores of given pairs of embeddings at an output: each query with one document."""

from functools import partial

import numpy as np

from qatlab.evaluation.axes import OnAxes
from qatlab.evaluation.outputs import Output
from qatlab.evaluation.ranking import SideRanges, codes, values

PAIRS_AT_ONCE = 1 << 14


def pair_scores(
    queries: OnAxes, documents: OnAxes, rows: np.ndarray, columns: np.ndarray, output: Output, ranges: SideRanges
) -> tuple[np.ndarray, np.ndarray]:
    """Of the query at each of `rows` with the document at the same place of `columns`.

    Args:
        queries, documents: on the output's axes.
        rows, columns: positions, (n,) int.
        output: how embeddings are stored and compared.
        ranges: what integer grids are laid over.

    Returns:
        What a search would rank them by (inner product of what is stored), and their cosine similarity; (n,) float64 each.
        Of bits, as ±1, both fall with the Hamming distance.
    """
    convert = codes if output.scoring == "codes" else partial(values, unit=documents.unit)
    products, similarities = np.empty(len(rows)), np.empty(len(rows))
    for first in range(0, len(rows), PAIRS_AT_ONCE):
        block = slice(first, first + PAIRS_AT_ONCE)
        query = convert(queries[rows[block]], output.query, ranges.queries).astype(np.float64)
        document = convert(documents[columns[block]], output.document, ranges.documents).astype(np.float64)
        products[block] = np.einsum("nd,nd->n", query, document)
        lengths = np.linalg.norm(query, axis=1) * np.linalg.norm(document, axis=1)
        similarities[block] = products[block] / np.where(lengths > 0, lengths, 1)
    return products, similarities
