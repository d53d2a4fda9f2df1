"""chrF and BLEU are those of sacrebleu, and pseudo-values of sentences have their sampling variance."""

import random

import numpy as np
import pytest
import sacrebleu

from qatlab.families.causal_lm.score import translation_metrics

WORDS = [
    "le",
    "la",
    "un",
    "une",
    "chat",
    "chien",
    "maison",
    "rouge",
    "petit",
    "grand",
    "mange",
    "dort",
    "voit",
    "dans",
    "et",
]


def corpus(sentences, seed=0, noise=0.4):
    generator = random.Random(seed)
    references = [" ".join(generator.choices(WORDS, k=generator.randint(4, 12))) for _ in range(sentences)]
    hypotheses = [
        " ".join(generator.choice(WORDS) if generator.random() < noise else word for word in reference.split())
        for reference in references
    ]
    return hypotheses, references


@pytest.mark.parametrize("sentences", [1, 3, 4, 60])
def test_the_mean_of_pseudo_values_is_the_score_of_sacrebleu(sentences):
    hypotheses, references = corpus(sentences)
    figures = translation_metrics(hypotheses, references)
    assert figures["chrf"].shape == figures["bleu"].shape == (sentences,)
    assert figures["chrf"].mean() == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [references]).score)
    assert figures["bleu"].mean() == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [references]).score)


def test_perfect_and_empty_translations():
    _, references = corpus(10)
    assert translation_metrics(references, references)["bleu"].mean() == pytest.approx(100)
    assert translation_metrics([""] * 10, references)["chrf"].tolist() == [0] * 10


def test_the_variance_of_pseudo_values_is_that_of_the_score_over_other_sentences():
    corpora = [translation_metrics(*corpus(60, seed)) for seed in range(150)]
    for metric in ("chrf", "bleu"):
        estimates = [parts[metric].mean() for parts in corpora]
        errors = [parts[metric].std(ddof=1) / np.sqrt(60) for parts in corpora]
        assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.2), metric
