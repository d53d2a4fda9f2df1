"""Metrics of semantic textual similarity: the correlation of embedding similarities with human judgements."""

import numpy as np

from qatlab.config.evaluate import COMPAT, EvaluateConfig
from qatlab.evaluation.axes import OnAxes
from qatlab.evaluation.jackknife import parts
from qatlab.evaluation.outputs import Output
from qatlab.evaluation.pairs import pair_scores
from qatlab.evaluation.ranking import SideRanges
from qatlab.evaluation.search import Timed
from qatlab.evaluation.stopwatch import NOT_TIMED
from qatlab.evaluation.task import Task

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
    if output.scoring == "mteb_compat":
        from qatlab.evaluation import mteb_compat

        return mteb_compat.similarities(queries.as_encoded(), documents.as_encoded(), output.query, similarity)
    if output.scoring in COMPAT:
        from qatlab.evaluation import sentence_transformers_compat

        return sentence_transformers_compat.similarities(queries.as_encoded(), documents.as_encoded(), output.query)
    every = np.arange(len(queries))
    products, cosines = pair_scores(queries, documents, every, every, output, ranges)
    return cosines if similarity == "cosine" else products
