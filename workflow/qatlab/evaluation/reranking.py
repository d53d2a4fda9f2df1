"""Metrics of reranking: the ranks of a query's positives among given candidates, as in held-out triplets.

The metrics are the accuracy, similarities and margins of held-out (query, positive, hard negatives) records that electroglyph's
EmbeddingGemma study reports.
"""

import numpy as np

from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.axes import OnAxes
from qatlab.evaluation.outputs import Output
from qatlab.evaluation.pairs import pair_scores
from qatlab.evaluation.planned import METRICS
from qatlab.evaluation.ranking import SideRanges
from qatlab.evaluation.search import Timed
from qatlab.evaluation.stopwatch import NOT_TIMED
from qatlab.evaluation.task import Task


def reranking_metrics(
    queries: OnAxes,
    documents: OnAxes,
    task: Task,
    output: Output,
    ranges: SideRanges,
    config: EvaluateConfig,
    watch: Timed = NOT_TIMED,
) -> dict[str, np.ndarray]:
    """Compute accuracy@1, mrr, rank, positive_similarity and margin of each query.

    `rank` is the rank of the best positive, `positive_similarity` the mean cosine similarity to positives, and `margin` the
    smallest cosine similarity to a positive minus the largest to a negative. A negative with the score of a positive ranks before
    it.

    Args:
        queries: Query embeddings on the axes of the output.
        documents: Document embeddings on the same axes.
        task: The candidates of each query, 1 for positives and 0 for negatives; every query has at least one of each.
        output: The output, which determines how embeddings are stored and compared.
        ranges: Ranges of integer grids.
        config: Unused, because the metrics are fixed.
        watch: Unused, because there is no search.

    Returns:
        (q,) float64 by metric.
    """
    position = {document: at for at, document in enumerate(task.document_ids)}
    candidates = [task.judgements[query] for query in task.query_ids]
    rows = np.repeat(np.arange(len(candidates)), [len(judged) for judged in candidates])
    columns = np.array([position[document] for judged in candidates for document in judged])
    positive = np.array([grade > 0 for judged in candidates for grade in judged.values()])
    scores, similarities = pair_scores(queries, documents, rows, columns, output, ranges)
    bounds = np.flatnonzero(np.diff(rows)) + 1
    by_query = zip(*(np.split(side, bounds) for side in (scores, similarities, positive)), strict=True)
    return dict(zip(METRICS["reranking"], np.array([_query_metrics(*parts) for parts in by_query]).T, strict=True))


def _query_metrics(
    scores: np.ndarray, similarities: np.ndarray, positive: np.ndarray
) -> tuple[float, float, float, float, float]:
    rank = 1 + int((scores[~positive] >= scores[positive].max()).sum())
    margin = similarities[positive].min() - similarities[~positive].max()
    return float(rank == 1), 1 / rank, float(rank), float(similarities[positive].mean()), float(margin)
