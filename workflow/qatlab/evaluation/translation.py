"""The translation metrics chrF and BLEU, as sacrebleu computes them.

References:
    Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation", https://aclanthology.org/W15-3049
    Papineni et al. 2002, "BLEU", https://aclanthology.org/P02-1040
    Post 2018, "A call for clarity in reporting BLEU scores", https://aclanthology.org/W18-6319
"""

from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from qatlab.evaluation.scores_file import parts

FEW = 4  # with fewer sentences, each sentence gets the score of the corpus


def translation_metrics(hypotheses: list[str], references: list[str]) -> dict[str, np.ndarray]:
    """Compute chrF and BLEU, from 0 to 100, as one value per sentence whose mean is the score of the corpus.

    Both scores are computed from counts that are summed over sentences, so neither is a mean of sentence scores. The values of
    sentences are therefore jackknife pseudo-values (`jackknife.parts`).

    Args:
        hypotheses: Translations by the model.
        references: Reference translations in the same order.

    Returns:
        `chrf` and `bleu`, each (sentences,) float64.
    """
    return {"chrf": _parts(CHRF(), hypotheses, references), "bleu": _parts(BLEU(force=True), hypotheses, references)}


def _parts(metric: Any, hypotheses: list[str], references: list[str]) -> np.ndarray:
    """Return a metric's value for each sentence, (sentences,) float64.

    The functions of sacrebleu that are called are those of its bootstrap: the counts of each sentence, and the score of summed
    counts.
    """
    counts = np.array(metric._extract_corpus_statistics(hypotheses, [references]), dtype=np.int64)
    total = counts.sum(axis=0)
    whole = _score(metric, total)
    if len(hypotheses) < FEW:
        return np.full(len(hypotheses), whole)
    return parts(whole, np.array([_score(metric, total - one) for one in counts]))


def _score(metric: Any, counts: np.ndarray) -> float:
    return float(metric._compute_score_from_stats(counts.tolist()).score)
