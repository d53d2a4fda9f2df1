"""Scores as the evaluators of sentence-transformers give them, on embeddings that are there already: to meet published figures.

Their own code ranks and compares: codes of each call's own ranges, cosine similarity of the codes as numbers (bits are 0 and 1),
ties as they fall. So a figure of a paper can be met first, and then explained.
"""

from typing import Any

import numpy as np
import torch
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim, dot_score, pairwise_cos_sim, quantize_embeddings

from qatlab.evaluation.metrics import name_and_cutoff, per_query
from qatlab.evaluation.task import Task

SIMILARITIES = {"cosine": cos_sim, "dot": dot_score}


def retrieval(
    queries: np.ndarray, documents: np.ndarray, task: Task, precision: str, similarity: str, metrics: list[str]
) -> dict[str, np.ndarray]:
    """Each metric of each query, as their InformationRetrievalEvaluator ranks. A document is relevant or not: grades are not read.

    Args:
        queries, documents: (q, dim) and (d, dim) float32, as encoded.
        task: whose queries and documents they are.
        precision: float32, int8, uint8, binary or ubinary.
        similarity: cosine or dot.
        metrics: 'ndcg@k', 'mrr@k', 'recall@k', 'accuracy@k'.

    Returns:
        By metric, (q,) float64.
    """
    depth = max(name_and_cutoff(metric)[1] for metric in metrics)
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
    """Cosine similarity of each pair as their EmbeddingSimilarityEvaluator compares, (n,) float64.

    Args:
        first, second: (n, dim) float32, as encoded; they are scaled to unit length before they are quantized, as there.
        precision: float32, int8, uint8, binary or ubinary.
    """
    sides = [torch.nn.functional.normalize(torch.from_numpy(side), dim=1).numpy() for side in (first, second)]
    compared = pairwise_cos_sim(*(torch.from_numpy(codes(side, precision).astype(np.float32)) for side in sides))
    found: np.ndarray = compared.numpy().astype(np.float64)
    return found


class _Rankings(InformationRetrievalEvaluator):
    """Their evaluator, which keeps the rankings that its figures are means over."""

    best: list[list[str]]

    def compute_metrics(self, queries_result_list: list[Any]) -> Any:
        """As theirs; best hit first, in the order that it counts them in."""
        self.best = [
            [hit["corpus_id"] for hit in sorted(hits, key=lambda hit: hit["score"], reverse=True)]
            for hits in queries_result_list
        ]
        return super().compute_metrics(queries_result_list)


class _Stored:
    """Where their evaluator wants a model: gives embeddings that are there already to texts that name their rows."""

    def __init__(self, queries: np.ndarray, documents: np.ndarray, precision: str) -> None:
        self.queries, self.documents, self.precision = queries, documents, precision

    def encode_query(self, texts: list[str], **_: Any) -> torch.Tensor:
        """Codes as numbers, of the ranges of this call."""
        return self._codes(self.queries, texts)

    def encode_document(self, texts: list[str], **_: Any) -> torch.Tensor:
        """Codes as numbers, of the ranges of this call."""
        return self._codes(self.documents, texts)

    def _codes(self, embeddings: np.ndarray, texts: list[str]) -> torch.Tensor:
        rows = embeddings[np.array(texts, dtype=np.int64)]
        return torch.from_numpy(codes(rows, self.precision).astype(np.float32))


def codes(embeddings: np.ndarray, precision: str) -> np.ndarray:
    """What their `encode(precision=…)` gives; bits unpacked to 0 and 1, as their EmbeddingSimilarityEvaluator does."""
    made: np.ndarray = quantize_embeddings(embeddings, precision)
    if precision == "binary":
        made = (made.astype(np.int16) + 128).astype(np.uint8)
    return np.unpackbits(made, axis=1) if precision in ("binary", "ubinary") else made
