"""Figures of semantic textual similarity: how well the similarity of two embeddings follows what people said of the texts."""

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

PAIRS_AT_ONCE = 512  # left out in turn, beside all others


def similarity_figures(
    queries: OnAxes,
    documents: OnAxes,
    task: Task,
    output: Output,
    ranges: SideRanges,
    config: EvaluateConfig,
    watch: Timed = NOT_TIMED,
) -> dict[str, np.ndarray]:
    """Spearman's and Pearson's correlation, each as (pairs,) float64 whose mean it is (see `by_pair`).

    Args:
        queries, documents: the first and the second of each pair, on the output's axes.
        task: how alike each pair is.
        output: how embeddings are stored and compared.
        ranges: what integer grids are laid over.
        config: the similarity function.
        watch: unused; nothing is searched.

    Raises:
        ValueError: where all pairs are equally alike, which no correlation can follow.
    """
    pairs = list(zip(task.query_ids, task.document_ids, strict=True))
    gold = np.array([task.judgements[query][document] for query, document in pairs])
    found = _similarities(queries, documents, output, ranges, config.similarity)
    if len(set(gold)) < 2:
        raise ValueError("all pairs are judged equally alike; a correlation needs two grades at least")
    from scipy import stats

    return {
        "spearman": by_pair(stats.rankdata(found), stats.rankdata(gold), ranked=True),
        "pearson": by_pair(found, gold, ranked=False),
    }


def by_pair(found: np.ndarray, gold: np.ndarray, ranked: bool) -> np.ndarray:
    """Each pair's part in a correlation, which is no mean over pairs; see `jackknife.parts`.

    Args:
        found, gold: (n,) float64; ranks, ties averaged, where `ranked`.
        ranked: whether leaving one out moves the ranks of the others.

    Returns:
        (n,) float64; all 0 where `found` is constant, which follows nothing.
    """
    from scipy import stats

    count = len(found)
    if np.ptp(found) == 0:
        return np.zeros(count)
    whole = float(stats.pearsonr(found, gold).statistic)
    if count < 4:  # three pairs less one are two, whose correlation is ±1
        return np.full(count, whole)
    without = np.concatenate(
        [_without(found, gold, np.arange(first, min(first + PAIRS_AT_ONCE, count)), ranked)
         for first in range(0, count, PAIRS_AT_ONCE)]
    )  # fmt: skip
    return parts(whole, without)


def _without(found: np.ndarray, gold: np.ndarray, left_out: np.ndarray, ranked: bool) -> np.ndarray:
    """The correlation of all others, for each of the positions, (len(left_out),)."""
    sides = []
    for side in (found, gold):
        others = np.broadcast_to(side, (len(left_out), len(side))).astype(np.float64)
        if ranked:  # those above move down by one, those that tie by a half
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
