"""Scores, compared with the library's own unchanged evaluators on the same embeddings."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sentence_transformers import SentenceTransformerModelCardData
from sentence_transformers.sentence_transformer.evaluation import (
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
)
from sentence_transformers.util import cos_sim, dot_score, quantize_embeddings

from qatlab.config.evaluate import COMPAT
from qatlab.evaluation import compatibility
from qatlab.evaluation.task_metrics import by_pair
from stored_task import stored_task

PRECISIONS = COMPAT["sentence_transformers_compat"]
METRICS = ["ndcg@10", "mrr@10", "recall@5", "accuracy@1", "accuracy@3"]


class Encoder:
    """Replacement of a model that returns the result of `encode(precision=…)` for texts with known embeddings."""

    similarity_fn_name = "cosine"

    def __init__(self, embeddings, precision):
        self.embeddings, self.precision = embeddings, precision
        self.model_card_data = SentenceTransformerModelCardData()

    def encode_query(self, texts, **_):
        return self.numbers(texts)

    encode_document = encode_query

    def numbers(self, texts):
        codes = quantize_embeddings(np.stack([self.embeddings[text] for text in texts]), self.precision)
        if self.precision == "binary":
            codes = (codes.astype(int) + 128).astype(np.uint8)
        if self.precision in ("binary", "ubinary"):
            codes = np.unpackbits(codes, axis=1)
        return torch.from_numpy(codes.astype(np.float32))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_retrieval_metrics_are_those_of_the_evaluator(precision, similarity):
    queries, documents, task = stored_task()
    named = dict(zip(task.query_ids, queries, strict=True)) | dict(zip(task.document_ids, documents, strict=True))
    theirs = InformationRetrievalEvaluator(
        {name: name for name in task.query_ids},
        {name: name for name in task.document_ids},
        {name: set(task.relevant(name)) for name in task.query_ids},
        score_functions={similarity: {"cosine": cos_sim, "dot": dot_score}[similarity]},
        write_csv=False,
    )(Encoder(named, precision))
    ours = compatibility.sentence_transformers_retrieval(queries, documents, task, precision, similarity, METRICS)
    for metric, values in ours.items():
        assert values.shape == (len(task.query_ids),)
        assert values.mean() == pytest.approx(theirs[f"{similarity}_{metric}"], abs=1e-6), metric


class Numbers:
    """A model whose codes come as numbers: 5.7's EmbeddingSimilarityEvaluator cannot compare integers (PyTorch has no norm of
    them), nor unpack "binary" (NumPy 2 adds no 128 to int8)."""

    similarity_fn_name = "cosine"

    def __init__(self, model, precision):
        self.model, self.precision, self.model_card_data = model, precision, model.model_card_data

    def encode(self, texts, **_):
        codes = self.model.encode(texts, precision=self.precision, normalize_embeddings=True)
        if self.precision == "binary":
            codes = (codes.astype(int) + 128).astype(np.uint8)
        if self.precision in ("binary", "ubinary"):
            codes = np.unpackbits(codes, axis=1)
        return codes.astype(np.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_correlations_are_those_of_the_evaluator(precision, model, pairs):
    first = [pair[0] for pair in pairs[:60]]
    second = [f"{text} {pairs[row + 1][0]}" if row % 3 else pairs[row][1] for row, text in enumerate(first)]
    gold = np.random.default_rng(0).integers(0, 6, size=60).astype(float)
    theirs = EmbeddingSimilarityEvaluator(first, second, gold, write_csv=False)(Numbers(model, precision))
    embeddings = [model.encode(side) for side in (first, second)]
    computed = compatibility.sentence_transformers_similarities(*embeddings, precision)
    spearman = by_pair(rankdata(computed), rankdata(gold), ranked=True).mean()
    assert spearman == pytest.approx(theirs["spearman_cosine"], abs=1e-6)
    assert by_pair(computed, gold, ranked=False).mean() == pytest.approx(theirs["pearson_cosine"], abs=1e-6)
