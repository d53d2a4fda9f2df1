"""Scores of mteb on precomputed embeddings, for comparison with published results.

mteb's own code quantizes embeddings (CompressionWrapper: 2^bits − 1 steps over the range of each call), compares codes as numbers
(bits are 0 and 1), ranks documents, and computes metrics (trec_eval, which sorts ties by descending name).
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

from qatlab.config.evaluate import metric_and_cutoff
from qatlab.evaluation.task import Task
from qatlab.metrics import ReciprocalRank
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
ROWS_AT_ONCE = 4096
WHERE = {"hf_split": "test", "hf_subset": "default"}


def retrieval(
    queries: np.ndarray, documents: np.ndarray, task: Task, precision: str, similarity: str, metrics: list[str]
) -> dict[str, np.ndarray]:
    """Compute metrics per query as mteb's retrieval tasks do.

    Args:
        queries: (q, dim) float32, as encoded.
        documents: (d, dim) float32, as encoded.
        task: The task of the queries and documents.
        precision: float32, or one of DTYPES.
        similarity: cosine or dot.
        metrics: Names with cutoffs, such as 'ndcg@10', of metrics that mteb computes.

    Returns:
        (q,) float64 by metric.
    """
    metadata = _metadata("Retrieval", "ndcg_at_10")
    searcher = SearchEncoderWrapper(_encoder(_Stored(queries, documents, similarity), precision))
    corpus, query_rows = _rows(task.document_ids), _rows(task.query_ids)
    cutoffs = sorted({metric_and_cutoff(metric)[1] for metric in metrics})
    options = {
        "task_metadata": metadata,
        **WHERE,
        "encode_kwargs": {"batch_size": ROWS_AT_ONCE, "show_progress_bar": False},
    }
    with _quietly():
        searcher.index(corpus, **options)
        results = searcher.search(query_rows, top_k=max(AbsTaskRetrieval.k_values), **options)
    if task.ignore_identical_ids:
        results = {
            query: {doc: score for doc, score in best.items() if doc != query} for query, best in results.items()
        }
    judged = {query: {doc: int(grade) for doc, grade in task.judgements[query].items()} for query in task.query_ids}
    by_trec = calculate_retrieval_scores(results, judged, cutoffs).all_scores
    by_rank = mrr(judged, results, cutoffs)
    row_of = {query: row for row, query in enumerate(results)}
    columns: dict[str, list[float]] = {}
    for metric in metrics:
        definition, k = metric_and_cutoff(metric)
        if isinstance(definition, ReciprocalRank):
            columns[metric] = [by_rank[f"MRR@{k}"][row_of[query]] for query in task.query_ids]
            continue
        assert definition.trec is not None, "the configuration refuses metrics that mteb does not compute"
        columns[metric] = [by_trec[query][definition.trec.format(k)] for query in task.query_ids]
    return {metric: np.array(values, dtype=np.float64) for metric, values in columns.items()}


def similarities(first: np.ndarray, second: np.ndarray, precision: str, similarity: str) -> np.ndarray:
    """Compute the similarity of each pair as mteb's evaluator of STS tasks does.

    Args:
        first: (n, dim) float32, the first texts as encoded.
        second: (n, dim) float32, the second texts as encoded.
        precision: float32, or one of DTYPES.
        similarity: cosine or dot.

    Returns:
        (n,) float64.
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
    """Replacement of mteb's encoder, which returns precomputed embeddings for texts that are row numbers."""

    def __init__(self, queries: np.ndarray, documents: np.ndarray, similarity: str) -> None:
        self.sides = {PromptType.query: queries, PromptType.document: documents}
        self.compare = SIMILARITIES[similarity]
        self.mteb_model_meta = ModelMeta.create_empty({"name": "stored/embeddings", "revision": "1"})

    def encode(self, inputs: Iterable[Any], *, prompt_type: PromptType, **_: Any) -> torch.Tensor:
        """Return the embeddings of the rows that the texts name, (n, dim) float32.

        Args:
            inputs: Batches of texts.
            prompt_type: Whether the texts are queries or documents.
            **_: Further arguments, which are ignored.
        """
        rows = [int(text) for batch in inputs for text in batch["text"]]
        return torch.from_numpy(self.sides[prompt_type][rows])

    def similarity(self, first: Any, second: Any) -> Any:
        """Return the similarities of all pairs of two sides, (q, d)."""
        return self.compare(first, second)

    def similarity_pairwise(self, first: Any, second: Any) -> Any:
        """Return the similarities of corresponding rows of two sides, (n,)."""
        return torch.stack([self.compare(a[None], b[None])[0, 0] for a, b in zip(first, second, strict=True)])


def _encoder(stored: _Stored, precision: str) -> Any:
    if precision == "float32":
        return stored
    with warnings.catch_warnings():
        # mteb warns of ranges fitted on few embeddings, which is the behaviour to reproduce.
        warnings.simplefilter("ignore")
        return CompressionWrapper(stored, DTYPES[precision])


def _rows(names: list[str]) -> Dataset:
    return Dataset.from_dict({"id": names, "text": [str(row) for row in range(len(names))]})


def _metadata(kind: str, main_score: str) -> TaskMetadata:
    return TaskMetadata(
        name="Stored",
        description="Embeddings that were computed before",
        type=kind,
        main_score=main_score,
        eval_langs=["eng-Latn"],
        dataset={"path": "stored/embeddings", "revision": "1"},
        modalities=["text"],
        category="t2t",
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide warnings of mteb and progress bars of datasets inside the context."""
    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        with warnings_hidden("mteb"):
            yield
    finally:
        if shown:
            enable_progress_bar()
