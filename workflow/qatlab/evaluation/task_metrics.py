"""Metrics of retrieval, agreement, reranking and semantic textual similarity, per query or pair.

Retrieval ranks all documents, agreement compares such a ranking with that of float embeddings, and reranking ranks the candidates of
each query. Similarity correlates the similarity of two embeddings
with the judgements of people.
"""

import numpy as np

from qatlab import ranked
from qatlab.config.evaluate import COMPAT, EvaluateConfig, metric_and_cutoff
from qatlab.config.precision import RotationConfig
from qatlab.evaluation.axes import OnAxes
from qatlab.evaluation.outputs import METRICS_OF_KIND, Output, parts
from qatlab.evaluation.ranking import SideRanges, pair_scores, rank
from qatlab.evaluation.search import NOT_TIMED, NOTHING, Timed
from qatlab.evaluation.task import Task
from qatlab.metrics import per_query


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
    return ranking_metrics(_ranked(queries, documents, task, output, ranges, depth, watch), task, config.metrics)


def ranking_metrics(best: np.ndarray, task: Task, metrics: list[str]) -> dict[str, np.ndarray]:
    """Compute metrics of ranked documents.

    Args:
        best: (q, depth) int64, positions of documents, best first, NOTHING where there is none.
        task: The relevant documents of each query.
        metrics: Names of metrics with cutoffs of at most `depth`.

    Returns:
        (q,) float64 by metric.
    """
    gains = gains_of(best, task)
    judged = [[int(grade) for grade in task.relevant(query).values()] for query in task.query_ids]
    return {metric: per_query(metric, gains, judged) for metric in metrics}


def _ranked(
    queries: OnAxes, documents: OnAxes, task: Task, output: Output, ranges: SideRanges, depth: int, watch: Timed
) -> np.ndarray:
    """Return the `depth` best documents of each query (see `rank`), without its own document where the task leaves it out."""
    best = rank(queries, documents, output, ranges, depth + task.ignore_identical_ids, watch=watch)
    return without_itself(best, task)[:, :depth] if task.ignore_identical_ids else best


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


def without_itself(best: np.ndarray, task: Task) -> np.ndarray:
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
    from qatlab.evaluation.compatibility import mteb_retrieval, sentence_transformers_retrieval

    compute = mteb_retrieval if output.scoring == "mteb_compat" else sentence_transformers_retrieval
    sides = queries.as_encoded(), documents.as_encoded()
    return compute(*sides, task, output.query, config.similarity, config.metrics)


PLAIN = Output(RotationConfig(), None, "float32", "float32", "dot", "", ())
RANKED, CORRELATED = 10, 100  # best documents that are compared as a set, and in their order


class AgreementMetrics:
    """Metrics of how far each query's search agrees with the exact search of the float embeddings, which is made once."""

    def __init__(self) -> None:
        self._float: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(
        self,
        queries: OnAxes,
        documents: OnAxes,
        task: Task,
        output: Output,
        ranges: SideRanges,
        config: EvaluateConfig,
        watch: Timed = NOT_TIMED,
    ) -> dict[str, np.ndarray]:
        """Compute overlap@10 and kendall@100 of each query.

        overlap@10 is the share of the 10 best documents of the float search that are among the 10 best of the output. kendall@100 is
        Kendall's τ-b between the float scores and the output's scores of the 100 best documents of the float search.

        Args:
            queries: Query embeddings on the axes of the output.
            documents: Document embeddings on the same axes.
            task: Whether a query's own document is left out of its results.
            output: The output, which determines how embeddings are stored and compared.
            ranges: Ranges of integer grids.
            config: Unused, because the metrics are fixed.
            watch: Context that times the searches.

        Returns:
            (q,) float64 by metric.
        """
        if self._float is None:
            self._float = self._exact(queries, documents, task)
        exact, exact_scores = self._float
        best = _ranked(queries, documents, task, output, ranges, RANKED, watch)
        rows = np.repeat(np.arange(len(exact)), exact.shape[1])
        scores = pair_scores(queries, documents, rows, exact.ravel(), output, ranges)[0].reshape(exact.shape)
        overlap = ranked.overlap(exact[:, :RANKED], best, NOTHING)
        return dict(zip(METRICS_OF_KIND["agreement"], (overlap, ranked.kendall_tau(exact_scores, scores)), strict=True))

    def _exact(self, queries: OnAxes, documents: OnAxes, task: Task) -> tuple[np.ndarray, np.ndarray]:
        """Return the best documents of the float search on the model's own axes, and their scores, (q, depth) each."""
        plain = OnAxes(documents.embeddings, unit=documents.unit)
        depth = min(CORRELATED, len(documents) - task.ignore_identical_ids)
        sides = plain.of(queries.embeddings), plain
        best = _ranked(*sides, task, PLAIN, SideRanges(), depth, NOT_TIMED)
        rows = np.repeat(np.arange(len(best)), depth)
        return best, pair_scores(*sides, rows, best.ravel(), PLAIN, SideRanges())[0].reshape(best.shape)


# Reranking. Reference: the accuracy, similarities and margins of held-out (query, positive, hard negatives)
# records that electroglyph's EmbeddingGemma study reports.


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
    return dict(
        zip(METRICS_OF_KIND["reranking"], np.array([_query_metrics(*parts) for parts in by_query]).T, strict=True)
    )


def _query_metrics(
    scores: np.ndarray, similarities: np.ndarray, positive: np.ndarray
) -> tuple[float, float, float, float, float]:
    rank = 1 + int((scores[~positive] >= scores[positive].max()).sum())
    margin = similarities[positive].min() - similarities[~positive].max()
    return float(rank == 1), 1 / rank, float(rank), float(similarities[positive].mean()), float(margin)


PAIRS_AT_ONCE = 512  # pairs that are processed at once, each left out of all pairs in turn


def similarity_metrics(
    queries: OnAxes,
    documents: OnAxes,
    task: Task,
    output: Output,
    ranges: SideRanges,
    config: EvaluateConfig,
    watch: Timed = NOT_TIMED,
) -> dict[str, np.ndarray]:
    """Compute Spearman's and Pearson's correlation, each as one value per pair whose mean it is (see `by_pair`).

    Args:
        queries: Embeddings of the first text of each pair on the axes of the output.
        documents: Embeddings of the second text of each pair on the same axes.
        task: The judged similarity of each pair.
        output: The output, which determines how embeddings are stored and compared.
        ranges: Ranges of integer grids.
        config: The similarity function.
        watch: Unused, because there is no search.

    Returns:
        `spearman` and `pearson`, (pairs,) float64 each.

    Raises:
        ValueError: If all pairs have the same judgement, with which no correlation is defined.
    """
    pairs = list(zip(task.query_ids, task.document_ids, strict=True))
    gold = np.array([task.judgements[query][document] for query, document in pairs])
    similarities = _similarities(queries, documents, output, ranges, config.similarity)
    if len(set(gold)) < 2:
        raise ValueError("all pairs have the same judgement; a correlation needs at least two different ones")
    from scipy import stats

    return {
        "spearman": by_pair(stats.rankdata(similarities), stats.rankdata(gold), ranked=True),
        "pearson": by_pair(similarities, gold, ranked=False),
    }


def by_pair(similarities: np.ndarray, gold: np.ndarray, ranked: bool) -> np.ndarray:
    """Return the jackknife pseudo-value of each pair, whose mean is the correlation (see `jackknife.parts`).

    Args:
        similarities: (n,) float64, similarities, or their ranks with averaged ties where `ranked`.
        gold: (n,) float64, judgements, or their ranks.
        ranked: Whether leaving one pair out changes the ranks of the others.

    Returns:
        (n,) float64; all 0 where `similarities` are constant.
    """
    from scipy import stats

    count = len(similarities)
    if np.ptp(similarities) == 0:
        return np.zeros(count)
    whole = float(stats.pearsonr(similarities, gold).statistic)
    if count < 4:  # leaving one of three pairs out leaves two, whose correlation is always ±1
        return np.full(count, whole)
    without = np.concatenate(
        [_without(similarities, gold, np.arange(first, min(first + PAIRS_AT_ONCE, count)), ranked)
         for first in range(0, count, PAIRS_AT_ONCE)]
    )  # fmt: skip
    return parts(whole, without)


def _without(similarities: np.ndarray, gold: np.ndarray, left_out: np.ndarray, ranked: bool) -> np.ndarray:
    """Return the correlation of all other pairs for each of the positions `left_out`, (len(left_out),)."""
    sides = []
    for side in (similarities, gold):
        others = np.broadcast_to(side, (len(left_out), len(side))).astype(np.float64)
        if ranked:  # higher ranks decrease by one, equal ranks by a half
            one = side[left_out][:, None]
            others = others - (others > one) - 0.5 * (others == one)
        others[np.arange(len(left_out)), left_out] = np.nan
        centred = others - np.nanmean(others, axis=1, keepdims=True)
        sides.append(np.nan_to_num(centred))
    products = (sides[0] * sides[1]).sum(axis=1)
    lengths = np.sqrt((sides[0] ** 2).sum(axis=1) * (sides[1] ** 2).sum(axis=1))
    return products / np.where(lengths > 0, lengths, 1)


def _similarities(
    queries: OnAxes, documents: OnAxes, output: Output, ranges: SideRanges, similarity: str
) -> np.ndarray:
    if output.scoring in COMPAT:
        from qatlab.evaluation.compatibility import mteb_similarities, sentence_transformers_similarities

        sides = queries.as_encoded(), documents.as_encoded()
        if output.scoring == "mteb_compat":
            return mteb_similarities(*sides, output.query, similarity)
        return sentence_transformers_similarities(*sides, output.query)
    every = np.arange(len(queries))
    products, cosines = pair_scores(queries, documents, every, every, output, ranges)
    return cosines if similarity == "cosine" else products
