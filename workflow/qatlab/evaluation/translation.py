"""chrF and BLEU of translations, as sacrebleu computes them.

References:
    Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation", https://aclanthology.org/W15-3049
    Papineni et al. 2002, "BLEU", https://aclanthology.org/P02-1040
    Post 2018, "A call for clarity in reporting BLEU scores", https://aclanthology.org/W18-6319
"""

from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from qatlab.evaluation.jackknife import parts

FEW = 4  # sentences; fewer tell nothing of one another


def translation_figures(hypotheses: list[str], references: list[str]) -> dict[str, np.ndarray]:
    """`chrf` and `bleu`, from 0 to 100, each as (sentences,) float64 whose mean the corpus's score is.

    Neither is a mean over sentences: both are of counts that are summed first. So each sentence has its part (`jackknife.parts`).
    """
    return {"chrf": _of(CHRF(), hypotheses, references), "bleu": _of(BLEU(force=True), hypotheses, references)}


def _of(metric: Any, hypotheses: list[str], references: list[str]) -> np.ndarray:
    """Sacrebleu's own functions for its bootstrap: a sentence's counts, and the score of summed ones."""
    counts = np.array(metric._extract_corpus_statistics(hypotheses, [references]), dtype=np.int64)
    total = counts.sum(axis=0)
    whole = _score(metric, total)
    if len(hypotheses) < FEW:
        return np.full(len(hypotheses), whole)
    return parts(whole, np.array([_score(metric, total - one) for one in counts]))


def _score(metric: Any, counts: np.ndarray) -> float:
    return float(metric._compute_score_from_stats(counts.tolist()).score)
