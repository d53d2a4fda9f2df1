"""Metrics of retrieval, from the ranks of relevant documents among all documents."""

import numpy as np

from qatlab.config.evaluate import COMPAT, EvaluateConfig
from qatlab.evaluation.axes import OnAxes
from qatlab.evaluation.outputs import Output
from qatlab.evaluation.ranking import SideRanges, rank
from qatlab.evaluation.search import NOTHING, Timed
from qatlab.evaluation.stopwatch import NOT_TIMED
from qatlab.evaluation.task import Task
from qatlab.metrics import metric_and_cutoff, per_query


def retrieval_metrics(
    queries: OnAxes,
    documents: OnAxes,
    task: Task,
    output: Output,
    ranges: SideRanges,
    config: EvaluateConfig,
    watch: Timed = NOT_TIMED,
) -> dict[str, np.ndarray]:
    """Compute the configured metrics of each query.

    Args:
        queries: Query embeddings on the axes of the output, in the order of the task's ids.
        documents: Document embeddings on the same axes, in the order of the task's ids.
        task: The relevant documents of each query.
        output: The output, which determines how embeddings are stored and compared.
        ranges: Ranges of integer grids.
        config: The metrics.
        watch: Context that times the searches, except those of other libraries' evaluators.

    Returns:
        (q,) float64 by metric.
    """
    if output.scoring in COMPAT:
        return _compat_metrics(queries, documents, task, output, config)
    depth = max(metric_and_cutoff(metric)[1] for metric in config.metrics)
    best = rank(queries, documents, output, ranges, depth + task.ignore_identical_ids, watch=watch)
    if task.ignore_identical_ids:
        best = _without_itself(best, task)[:, :depth]
    gains = gains_of(best, task)
    judged = [[int(grade) for grade in task.relevant(query).values()] for query in task.query_ids]
    return {metric: per_query(metric, gains, judged) for metric in config.metrics}


def gains_of(best: np.ndarray, task: Task) -> np.ndarray:
    """Return the grades of ranked documents, (q, depth) int64, 0 for irrelevant ones and for NOTHING.

    Args:
        best: (q, depth) positions of documents, best first.
        task: The relevant documents of each query.
    """
    position = {document: at for at, document in enumerate(task.document_ids)}
    gains = np.zeros(best.shape, dtype=np.int64)
    for row, query in enumerate(task.query_ids):
        for document, grade in task.relevant(query).items():
            # Some of mteb's tasks judge documents that are not in the corpus; they count as relevant but are never found.
            if document in position:
                gains[row][best[row] == position[document]] = int(grade)
    return gains


def _without_itself(best: np.ndarray, task: Task) -> np.ndarray:
    """Replace the document with the id of the query by NOTHING, and move it to the end of each ranking."""
    position = {document: at for at, document in enumerate(task.document_ids)}
    itself = np.array([position.get(query, NOTHING) for query in task.query_ids])
    is_itself = (best == itself[:, None]) & (itself != NOTHING)[:, None]
    order = np.argsort(is_itself, axis=1, kind="stable")
    moved: np.ndarray = np.take_along_axis(np.where(is_itself, NOTHING, best), order, axis=1)
    return moved


def _compat_metrics(
    queries: OnAxes, documents: OnAxes, task: Task, output: Output, config: EvaluateConfig
) -> dict[str, np.ndarray]:
    """Compute metrics with the evaluators of other libraries; only these outputs import torch."""
    sides = queries.as_encoded(), documents.as_encoded()
    if output.scoring == "mteb_compat":
        from qatlab.evaluation import mteb_compat

        return mteb_compat.retrieval(*sides, task, output.query, config.similarity, config.metrics)
    from qatlab.evaluation import sentence_transformers_compat

    return sentence_transformers_compat.retrieval(*sides, task, output.query, config.similarity, config.metrics)
