"""Scores of sentence-transformers' evaluators on precomputed embeddings, for comparison with published results.

The evaluators' own code ranks and compares: codes have the ranges of each call, cosine similarities are those of the codes as
numbers (bits are 0 and 1), and the order of ties is not defined. The results of a paper can thus be reproduced first and then
explained.
"""

from typing import Any

import numpy as np
import torch
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim, dot_score, pairwise_cos_sim, quantize_embeddings

from qatlab.config.evaluate import metric_and_cutoff
from qatlab.evaluation.task import Task
from qatlab.metrics import per_query

SIMILARITIES = {"cosine": cos_sim, "dot": dot_score}


def retrieval(
    queries: np.ndarray, documents: np.ndarray, task: Task, precision: str, similarity: str, metrics: list[str]
) -> dict[str, np.ndarray]:
    """Compute metrics per query from the rankings of InformationRetrievalEvaluator, which ignores relevance grades.

    Args:
        queries: (q, dim) float32, as encoded.
        documents: (d, dim) float32, as encoded.
        task: The task of the queries and documents.
        precision: float32, int8, uint8, binary or ubinary.
        similarity: cosine or dot.
        metrics: Names with cutoffs, such as 'ndcg@10'.

    Returns:
        (q,) float64 by metric.
    """
    depth = max(metric_and_cutoff(metric)[1] for metric in metrics)
    evaluator = _Rankings(
        {name: str(row) for row, name in enumerate(task.query_ids)},
        {name: str(row) for row, name in enumerate(task.document_ids)},
        {query: set(task.relevant(query)) for query in task.query_ids},
        score_functions={similarity: SIMILARITIES[similarity]},
        ndcg_at_k=[depth],
        show_progress_bar=False,
        write_csv=False,
    )
    evaluator.compute_all_metrics(_Stored(queries, documents, precision))
    gains = np.array(
        [
            [int(document in task.relevant(query)) for document in best[:depth]]
            for query, best in zip(evaluator.queries_ids, evaluator.best, strict=True)
        ]
    )
    judged = [[1] * len(task.relevant(query)) for query in evaluator.queries_ids]
    return {metric: per_query(metric, gains, judged) for metric in metrics}


def similarities(first: np.ndarray, second: np.ndarray, precision: str) -> np.ndarray:
    """Compute the cosine similarity of each pair as EmbeddingSimilarityEvaluator does.

    Args:
        first: (n, dim) float32, the first texts as encoded; as in the evaluator, they are scaled to unit length before quantization.
        second: (n, dim) float32, the second texts.
        precision: float32, int8, uint8, binary or ubinary.

    Returns:
        (n,) float64.
    """
    sides = [torch.nn.functional.normalize(torch.from_numpy(side), dim=1).numpy() for side in (first, second)]
    compared = pairwise_cos_sim(*(torch.from_numpy(codes(side, precision).astype(np.float32)) for side in sides))
    cosines: np.ndarray = compared.numpy().astype(np.float64)
    return cosines


class _Rankings(InformationRetrievalEvaluator):
    """The evaluator of sentence-transformers, which also stores the rankings that its metrics are computed from."""

    best: list[list[str]]

    def compute_metrics(self, queries_result_list: list[Any]) -> Any:
        """Compute the evaluator's metrics, and store the ranking of each query in the order in which they count hits."""
        self.best = [
            [hit["corpus_id"] for hit in sorted(hits, key=lambda hit: hit["score"], reverse=True)]
            for hits in queries_result_list
        ]
        return super().compute_metrics(queries_result_list)


class _Stored:
    """Replacement of the evaluator's model, which returns precomputed embeddings for texts that are row numbers."""

    def __init__(self, queries: np.ndarray, documents: np.ndarray, precision: str) -> None:
        self.queries, self.documents, self.precision = queries, documents, precision

    def encode_query(self, texts: list[str], **_: Any) -> torch.Tensor:
        """Return the codes of queries as numbers, with the ranges of this call."""
        return self._codes(self.queries, texts)

    def encode_document(self, texts: list[str], **_: Any) -> torch.Tensor:
        """Return the codes of documents as numbers, with the ranges of this call."""
        return self._codes(self.documents, texts)

    def _codes(self, embeddings: np.ndarray, texts: list[str]) -> torch.Tensor:
        rows = embeddings[np.array(texts, dtype=np.int64)]
        return torch.from_numpy(codes(rows, self.precision).astype(np.float32))


def codes(embeddings: np.ndarray, precision: str) -> np.ndarray:
    """Quantize embeddings as sentence-transformers' `encode(precision=…)` does.

    Args:
        embeddings: (n, dim) float32.
        precision: float32, int8, uint8, binary or ubinary.

    Returns:
        (n, dim) codes; bits are unpacked to 0 and 1, as in EmbeddingSimilarityEvaluator.
    """
    quantized: np.ndarray = quantize_embeddings(embeddings, precision)
    if precision == "binary":
        quantized = (quantized.astype(np.int16) + 128).astype(np.uint8)
    return np.unpackbits(quantized, axis=1) if precision in ("binary", "ubinary") else quantized
