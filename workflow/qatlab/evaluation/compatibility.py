"""Scores of mteb and of sentence-transformers' evaluators on precomputed embeddings, for comparison with published results.

The libraries' own code quantizes, ranks and computes, so that the results of a paper can be reproduced first and then explained.
In both, codes have the ranges of each call, and are compared as numbers (bits are 0 and 1). mteb is imported by the functions that
call it, because it takes seconds.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim, dot_score, pairwise_cos_sim, quantize_embeddings

from qatlab.config.evaluate import metric_and_cutoff
from qatlab.evaluation.task import Task
from qatlab.metrics import ReciprocalRank, per_query
from qatlab.progress import warnings_hidden

# mteb's CompressionWrapper quantizes in 2^bits − 1 steps over the range of each call, and its trec_eval sorts ties by descending name.

DTYPES = {  # names of mteb's types
    "float16": "FLOAT16",
    "bfloat16": "BF16",
    "float8_e4m3": "FLOAT8_E4M3FN",
    "int8": "INT8",
    "uint8": "UINT8",
    "int4": "INT4",
    "binary": "BINARY",
}
ROWS_AT_ONCE = 4096
WHERE = {"hf_split": "test", "hf_subset": "default"}


def mteb_retrieval(
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
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores, mrr
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.models import SearchEncoderWrapper

    metadata = _metadata("Retrieval", "ndcg_at_10")
    searcher = SearchEncoderWrapper(_encoder(_StoredForMteb(queries, documents, similarity), precision))
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


def mteb_similarities(first: np.ndarray, second: np.ndarray, precision: str, similarity: str) -> np.ndarray:
    """Compute the similarity of each pair as mteb's evaluator of STS tasks does.

    Args:
        first: (n, dim) float32, the first texts as encoded.
        second: (n, dim) float32, the second texts as encoded.
        precision: float32, or one of DTYPES.
        similarity: cosine or dot.

    Returns:
        (n,) float64.
    """
    from mteb._evaluators.any_sts_evaluator import AnySTSEvaluator
    from mteb.timing import TimingStack
    from mteb.types import PromptType

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
            _encoder(_StoredForMteb(first, second, similarity), precision), encode_kwargs={"batch_size": ROWS_AT_ONCE}
        )
    return np.array(scores["cosine_scores" if similarity == "cosine" else "similarity_scores"], dtype=np.float64)


class _StoredForMteb:
    """Replacement of mteb's encoder, which returns precomputed embeddings for texts that are row numbers."""

    def __init__(self, queries: np.ndarray, documents: np.ndarray, similarity: str) -> None:
        from mteb import similarity_functions as compared
        from mteb.models import ModelMeta
        from mteb.types import PromptType

        self.sides = {PromptType.query: queries, PromptType.document: documents}
        self.compare = {"cosine": compared.cos_sim, "dot": compared.dot_score}[similarity]
        self.mteb_model_meta = ModelMeta.create_empty({"name": "stored/embeddings", "revision": "1"})

    def encode(self, inputs: Iterable[Any], *, prompt_type: Any, **_: Any) -> torch.Tensor:
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


def _encoder(stored: _StoredForMteb, precision: str) -> Any:
    if precision == "float32":
        return stored
    from mteb.models import CompressionWrapper
    from mteb.types import OutputDType

    with warnings.catch_warnings():
        # mteb warns of ranges fitted on few embeddings, which is the behaviour to reproduce.
        warnings.simplefilter("ignore")
        return CompressionWrapper(stored, OutputDType[DTYPES[precision]])


def _rows(names: list[str]) -> Dataset:
    return Dataset.from_dict({"id": names, "text": [str(row) for row in range(len(names))]})


def _metadata(kind: str, main_score: str) -> Any:
    from mteb.abstasks.task_metadata import TaskMetadata

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


# Cosine similarities of sentence-transformers are those of the codes, and the order of its ties is not defined.

SIMILARITIES = {"cosine": cos_sim, "dot": dot_score}


def sentence_transformers_retrieval(
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


def sentence_transformers_similarities(first: np.ndarray, second: np.ndarray, precision: str) -> np.ndarray:
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
