"""Scores as mteb gives them, on embeddings that are there already: to meet published figures.

Its own code quantizes (CompressionWrapper: 2^bits − 1 steps over the range of each call), compares codes as numbers (bits are 0 and
1), ranks, and counts (trec_eval, whose ties go to the later name).
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled
from mteb._evaluators.any_sts_evaluator import AnySTSEvaluator
from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores, mrr
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import CompressionWrapper, ModelMeta, SearchEncoderWrapper
from mteb.similarity_functions import cos_sim, dot_score
from mteb.timing import TimingStack
from mteb.types import OutputDType, PromptType

from qatlab.evaluation.metrics import name_and_cutoff
from qatlab.evaluation.task import Task
from qatlab.progress import warnings_hidden

DTYPES = {
    "float16": OutputDType.FLOAT16,
    "bfloat16": OutputDType.BF16,
    "float8_e4m3": OutputDType.FLOAT8_E4M3FN,
    "int8": OutputDType.INT8,
    "uint8": OutputDType.UINT8,
    "int4": OutputDType.INT4,
    "binary": OutputDType.BINARY,
}
SIMILARITIES = {"cosine": cos_sim, "dot": dot_score}
TREC = {"ndcg": "ndcg_cut_{}", "recall": "recall_{}", "accuracy": "success_{}"}
ROWS_AT_ONCE = 4096
WHERE = {"hf_split": "test", "hf_subset": "default"}


def retrieval(
    queries: np.ndarray, documents: np.ndarray, task: Task, precision: str, similarity: str, metrics: list[str]
) -> dict[str, np.ndarray]:
    """Each metric of each query.

    Args:
        queries, documents: (q, dim) and (d, dim) float32, as encoded.
        task: whose queries and documents they are.
        precision: float32, or one of DTYPES.
        similarity: cosine or dot.
        metrics: 'ndcg@k', 'mrr@k', 'recall@k', 'accuracy@k'.

    Returns:
        By metric, (q,) float64.
    """
    metadata = _metadata("Retrieval", "ndcg_at_10")
    searcher = SearchEncoderWrapper(_encoder(_Stored(queries, documents, similarity), precision))
    corpus, asked = _rows(task.document_ids), _rows(task.query_ids)
    cutoffs = sorted({name_and_cutoff(metric)[1] for metric in metrics})
    more = {
        "task_metadata": metadata,
        **WHERE,
        "encode_kwargs": {"batch_size": ROWS_AT_ONCE, "show_progress_bar": False},
    }
    with _quietly():
        searcher.index(corpus, **more)
        found = searcher.search(asked, top_k=max(AbsTaskRetrieval.k_values), **more)
    if task.ignore_identical_ids:
        found = {query: {doc: score for doc, score in best.items() if doc != query} for query, best in found.items()}
    judged = {query: {doc: int(grade) for doc, grade in task.judgements[query].items()} for query in task.query_ids}
    by_trec = calculate_retrieval_scores(found, judged, cutoffs).all_scores
    by_rank = mrr(judged, found, cutoffs)
    at = {query: row for row, query in enumerate(found)}
    columns: dict[str, list[float]] = {}
    for metric in metrics:
        name, k = name_and_cutoff(metric)
        columns[metric] = (
            [by_rank[f"MRR@{k}"][at[query]] for query in task.query_ids]
            if name == "mrr"
            else [by_trec[query][TREC[name].format(k)] for query in task.query_ids]
        )
    return {metric: np.array(values, dtype=np.float64) for metric, values in columns.items()}


def similarities(first: np.ndarray, second: np.ndarray, precision: str, similarity: str) -> np.ndarray:
    """Of each pair, as its evaluator of STS tasks compares, (n,) float64.

    Args:
        first, second: (n, dim) float32, as encoded.
        precision: float32, or one of DTYPES.
        similarity: cosine or dot.
    """
    names = [str(row) for row in range(len(first))]
    both = Dataset.from_dict({"sentence1": names, "sentence2": names})
    evaluator = AnySTSEvaluator(
        both,
        ("sentence1", "sentence2"),
        task_metadata=_metadata("STS", "cosine_spearman"),
        **WHERE,
        input1_prompt_type=PromptType.query,
        input2_prompt_type=PromptType.document,
        timer=TimingStack(),
    )
    with _quietly():
        scores = evaluator(
            _encoder(_Stored(first, second, similarity), precision), encode_kwargs={"batch_size": ROWS_AT_ONCE}
        )
    return np.array(scores["cosine_scores" if similarity == "cosine" else "similarity_scores"], dtype=np.float64)


class _Stored:
    """Where mteb wants an encoder: gives embeddings that are there already to texts that name their rows."""

    def __init__(self, queries: np.ndarray, documents: np.ndarray, similarity: str) -> None:
        self.sides = {PromptType.query: queries, PromptType.document: documents}
        self.compare = SIMILARITIES[similarity]
        self.mteb_model_meta = ModelMeta.create_empty({"name": "stored/embeddings", "revision": "1"})

    def encode(self, inputs: Iterable[Any], *, prompt_type: PromptType, **_: Any) -> torch.Tensor:
        """(n, dim) float32."""
        rows = [int(text) for batch in inputs for text in batch["text"]]
        return torch.from_numpy(self.sides[prompt_type][rows])

    def similarity(self, first: Any, second: Any) -> Any:
        """(q, d)."""
        return self.compare(first, second)

    def similarity_pairwise(self, first: Any, second: Any) -> Any:
        """(n,)."""
        return torch.stack([self.compare(a[None], b[None])[0, 0] for a, b in zip(first, second, strict=True)])


def _encoder(stored: _Stored, precision: str) -> Any:
    if precision == "float32":
        return stored
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few embeddings for a range: that is what is to be shown
        return CompressionWrapper(stored, DTYPES[precision])


def _rows(names: list[str]) -> Dataset:
    return Dataset.from_dict({"id": names, "text": [str(row) for row in range(len(names))]})


def _metadata(kind: str, main_score: str) -> TaskMetadata:
    return TaskMetadata(
        name="Stored",
        description="Embeddings that are there already",
        type=kind,
        main_score=main_score,
        eval_langs=["eng-Latn"],
        dataset={"path": "stored/embeddings", "revision": "1"},
        modalities=["text"],
        category="t2t",
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide warnings of mteb and progress bars of datasets while open."""
    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        with warnings_hidden("mteb"):
            yield
    finally:
        if shown:
            enable_progress_bar()
