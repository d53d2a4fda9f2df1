"""Figures of reranking: a query's answers among candidates that are given with it, as in withheld triplets.

Reference: the accuracy, similarities and margins of held-out (query, positive, hard negatives) records that electroglyph's
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


def reranking_figures(
    queries: OnAxes,
    documents: OnAxes,
    task: Task,
    output: Output,
    ranges: SideRanges,
    config: EvaluateConfig,
    watch: Timed = NOT_TIMED,
) -> dict[str, np.ndarray]:
    """Each figure of each query, (q,) float64: accuracy@1, mrr, rank, positive_similarity, margin.

    `rank` is that of the best-placed positive, `positive_similarity` the mean cosine similarity to positives, `margin` the
    least of these less that of the most similar negative. A negative that ties with a positive stands before it.

    Args:
        queries, documents: on the output's axes.
        task: candidates, 1 for positives and 0 for negatives; every query has one of each at least.
        output: how embeddings are stored and compared.
        ranges: what integer grids are laid over.
        config: unused; the figures are these.
        watch: unused; nothing is searched.
    """
    position = {document: at for at, document in enumerate(task.document_ids)}
    candidates = [task.judgements[query] for query in task.query_ids]
    rows = np.repeat(np.arange(len(candidates)), [len(judged) for judged in candidates])
    columns = np.array([position[document] for judged in candidates for document in judged])
    positive = np.array([grade > 0 for judged in candidates for grade in judged.values()])
    scores, similarities = pair_scores(queries, documents, rows, columns, output, ranges)
    bounds = np.flatnonzero(np.diff(rows)) + 1
    of_queries = zip(*(np.split(side, bounds) for side in (scores, similarities, positive)), strict=True)
    return dict(zip(METRICS["reranking"], np.array([_of_query(*parts) for parts in of_queries]).T, strict=True))


def _of_query(
    scores: np.ndarray, similarities: np.ndarray, positive: np.ndarray
) -> tuple[float, float, float, float, float]:
    rank = 1 + int((scores[~positive] >= scores[positive].max()).sum())
    margin = similarities[positive].min() - similarities[~positive].max()
    return float(rank == 1), 1 / rank, float(rank), float(similarities[positive].mean()), float(margin)
