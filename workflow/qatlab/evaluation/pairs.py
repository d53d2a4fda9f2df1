"""Scores of given pairs of a query and a document at an output."""

from functools import partial

import numpy as np

from qatlab.evaluation.axes import OnAxes
from qatlab.evaluation.outputs import Output
from qatlab.evaluation.ranking import SideRanges, codes, values

PAIRS_AT_ONCE = 1 << 14


def pair_scores(
    queries: OnAxes, documents: OnAxes, rows: np.ndarray, columns: np.ndarray, output: Output, ranges: SideRanges
) -> tuple[np.ndarray, np.ndarray]:
    """Score the pairs of a query and a document that are given by their positions.

    Args:
        queries: Query embeddings on the axes of the output.
        documents: Document embeddings on the same axes.
        rows: (n,) int, the position of the query of each pair.
        columns: (n,) int, the position of the document of each pair.
        output: The output, which determines how embeddings are stored and compared.
        ranges: Ranges of integer grids.

    Returns:
        The score by which a search would rank each pair (inner product of the stored embeddings), and its cosine similarity, (n,)
        float64 each. Bits count as ±1, so that both scores decrease with the Hamming distance.
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
