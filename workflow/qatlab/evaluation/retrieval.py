"""Figures of retrieval: the best of all documents for each query, and where the relevant ones stand among them."""

import numpy as np

from qatlab.config.evaluate import COMPAT, EvaluateConfig
from qatlab.evaluation.axes import OnAxes
from qatlab.evaluation.metrics import name_and_cutoff, per_query
from qatlab.evaluation.outputs import Output
from qatlab.evaluation.ranking import SideRanges, rank
from qatlab.evaluation.search import NOTHING, Timed
from qatlab.evaluation.stopwatch import NOT_TIMED
from qatlab.evaluation.task import Task


def retrieval_figures(
    queries: OnAxes,
    documents: OnAxes,
    task: Task,
    output: Output,
    ranges: SideRanges,
    config: EvaluateConfig,
    watch: Timed = NOT_TIMED,
) -> dict[str, np.ndarray]:
    """Each metric of each query, (q,) float64.

    Args:
        queries, documents: on the output's axes, in the order of the task's ids.
        task: which documents are relevant.
        output: how embeddings are stored and compared.
        ranges: what integer grids are laid over.
        config: the metrics.
        watch: times the searches; not those of others' code.
    """
    if output.scoring in COMPAT:
        return _as_others_score(queries, documents, task, output, config)
    depth = max(name_and_cutoff(metric)[1] for metric in config.metrics)
    best = rank(queries, documents, output, ranges, depth + task.ignore_identical_ids, watch=watch)
    if task.ignore_identical_ids:
        best = _without_itself(best, task)[:, :depth]
    gains = gains_of(best, task)
    judged = [[int(grade) for grade in task.relevant(query).values()] for query in task.query_ids]
    return {metric: per_query(metric, gains, judged) for metric in config.metrics}


def gains_of(best: np.ndarray, task: Task) -> np.ndarray:
    """The grades of ranked documents, (q, depth), 0 for the irrelevant and for NOTHING."""
    position = {document: at for at, document in enumerate(task.document_ids)}
    gains = np.zeros(best.shape, dtype=np.int64)
    for row, query in enumerate(task.query_ids):
        for document, grade in task.relevant(query).items():
            if document in position:  # not so in some of mteb's tasks: such a document counts, and is never found
                gains[row][best[row] == position[document]] = int(grade)
    return gains


def _without_itself(best: np.ndarray, task: Task) -> np.ndarray:
    """Rankings in which the document of a query's own name goes to the end, as NOTHING."""
    position = {document: at for at, document in enumerate(task.document_ids)}
    itself = np.array([position.get(query, NOTHING) for query in task.query_ids])
    is_itself = (best == itself[:, None]) & (itself != NOTHING)[:, None]
    order = np.argsort(is_itself, axis=1, kind="stable")
    moved: np.ndarray = np.take_along_axis(np.where(is_itself, NOTHING, best), order, axis=1)
    return moved


def _as_others_score(
    queries: OnAxes, documents: OnAxes, task: Task, output: Output, config: EvaluateConfig
) -> dict[str, np.ndarray]:
    """By their own code; PyTorch is loaded for these outputs alone."""
    sides = queries.as_encoded(), documents.as_encoded()
    if output.scoring == "mteb_compat":
        from qatlab.evaluation import mteb_compat

        return mteb_compat.retrieval(*sides, task, output.query, config.similarity, config.metrics)
    from qatlab.evaluation import sentence_transformers_compat

    return sentence_transformers_compat.retrieval(*sides, task, output.query, config.similarity, config.metrics)
