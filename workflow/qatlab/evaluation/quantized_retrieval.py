"""Evaluator with the interface of Sentence Transformers' own, which scores retrieval at every precision from one encoding."""

import csv
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator

from qatlab import ranked
from qatlab.quantization import MinMaxRange, QuantileRange, Range, dequantize_embeddings, quantize_embeddings
from qatlab.quantization.precisions import COARSE, QUANTILE, RANGED, NotFiniteError, named_sides
from qatlab.statistics import RESAMPLES, bootstrap_intervals

logger = logging.getLogger(__name__)

FLOAT = "float32"
METRICS: dict[str, Callable[[np.ndarray, list[list[int]], int], np.ndarray]] = {
    "ndcg": ranked.ndcg,
    "mrr": ranked.reciprocal_rank,
    "recall": ranked.recall,
    "accuracy": ranked.accuracy,
}
NAMED = re.compile(r"([a-z]+)@([1-9]\d*)")
OF_DIFFERENCE = ("difference", "difference_low", "difference_high")
SCORES_AT_ONCE = 1 << 24  # 192 MB of scores and sort keys
LAST = 0xFFFFFFFF  # larger than every position of a document


class QuantizedRetrievalEvaluator(SentenceEvaluator):
    """Evaluator of retrieval with embeddings stored at several precisions, for any trainer of Sentence Transformers.

    Queries and documents are encoded once, with ``encode_query`` and ``encode_document``; every precision is scored from these
    embeddings. Integer ranges and quantiles are fitted on the documents, for both sides; values are compared as decoded, and bits by
    Hamming distance. Documents of equal scores are in the order of their ids. The metrics of float32 are those of
    ``InformationRetrievalEvaluator``, and every other precision is also compared with float32, query by query.

    The result has the keys ``NAME_PRECISION_METRIC``, such as ``dev_int8_ndcg@10``, and for each precision except float32 also
    ``…_difference`` (the metric at the precision minus that of float32, mean over queries), ``…_difference_low`` and
    ``…_difference_high`` (its 95 % interval by the paired bootstrap over queries).

    Args:
        queries: Texts of the queries by id. Queries without relevant documents are left out.
        corpus: Texts of the documents by id.
        relevant_docs: Ids of the relevant documents of each query, by the query's id. Ids that the corpus lacks count as not found.
        precisions: Precisions of stored embeddings, such as ``int8``, ``int2_quantile`` or ``float32_x_binary`` (queries ×
            documents); see ``qatlab.quantization.PRECISIONS``. float32 is always included.
        metrics: ``ndcg@k``, ``mrr@k``, ``recall@k`` and ``accuracy@k`` with any k ≥ 1.
        primary_metric: Key of the metric that selects the best model, such as ``int8_ndcg@10``. By default, the first metric at the
            first of ``precisions``.
        batch_size: Number of texts per forward pass.
        name: Name of the evaluation, with which all keys begin.
        truncate_dim: Number of leading dimensions that are kept; None keeps all.
        query_prompt: Prompt of the queries; None applies the model's own prompt for queries.
        corpus_prompt: Prompt of the documents; None applies the model's own prompt for documents.
        show_progress_bar: Whether to show progress while texts are encoded.
        write_csv: Whether to append the result to a CSV file in the ``output_path`` of each call.
        resamples: Number of bootstrap samples of each interval.

    Raises:
        ValueError: For an unknown precision or metric, a primary metric that is not among the keys, and queries without any
            relevant document.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from qatlab.evaluation import QuantizedRetrievalEvaluator

            model = SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2")
            evaluator = QuantizedRetrievalEvaluator(
                queries={"q1": "capital of France"},
                corpus={"d1": "Paris is the capital of France.", "d2": "Bread is baked."},
                relevant_docs={"q1": {"d1"}},
                precisions=["float32", "int8", "binary"],
                primary_metric="binary_ndcg@10",
                name="dev",
            )
            results = evaluator(model)
            print(results[evaluator.primary_metric])  # dev_binary_ndcg@10

        In a trainer, pass ``evaluator=evaluator`` and set ``load_best_model_at_end=True`` and
        ``metric_for_best_model=f"eval_{evaluator.primary_metric}"``.

    References:
        Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", https://doi.org/10.1145/582415.582418;
        Sakai 2006, "Evaluating evaluation metrics based on the bootstrap", https://doi.org/10.1145/1148170.1148261
    """

    def __init__(
        self,
        queries: Mapping[str, str],
        corpus: Mapping[str, str],
        relevant_docs: Mapping[str, Iterable[str]],
        precisions: Sequence[str] = (FLOAT, "int8", "binary"),
        metrics: Sequence[str] = ("ndcg@10", "mrr@10", "recall@10", "accuracy@1"),
        primary_metric: str | None = None,
        batch_size: int = 32,
        name: str = "",
        truncate_dim: int | None = None,
        query_prompt: str | None = None,
        corpus_prompt: str | None = None,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        resamples: int = RESAMPLES,
    ) -> None:
        super().__init__()
        relevant = {query: set(relevant_docs.get(query, ())) for query in queries}
        self.queries_ids = [query for query in queries if relevant[query]]
        if not self.queries_ids or not corpus:
            raise ValueError(
                f"{len(self.queries_ids)} of {len(queries)} queries have relevant documents, and the corpus has {len(corpus)} "
                "documents; at least one of each is needed"
            )
        self.corpus_ids = sorted(corpus)  # Equal scores keep this order, as in Sentence Transformers.
        self.queries = [queries[query] for query in self.queries_ids]
        self.corpus = [corpus[document] for document in self.corpus_ids]
        self.judged = [[1] * len(relevant[query]) for query in self.queries_ids]
        position = {document: at for at, document in enumerate(self.corpus_ids)}
        self.relevant = [
            np.array(sorted(position[document] for document in relevant[query] if document in position), dtype=np.int64)
            for query in self.queries_ids
        ]
        self.precisions = {FLOAT: (FLOAT, FLOAT)} | named_sides(precisions)
        self.metrics = {metric: _metric(metric) for metric in metrics}
        if not self.metrics:
            raise ValueError("metrics must list at least one, such as 'ndcg@10'")
        self.batch_size, self.name, self.truncate_dim = batch_size, name, truncate_dim
        self.prompts = {"query": query_prompt, "document": corpus_prompt}
        self.show_progress_bar, self.write_csv, self.resamples = show_progress_bar, write_csv, resamples
        self.csv_file = f"Quantized-Retrieval_evaluation{'_' * bool(name) + name}_results.csv"
        self.csv_headers = ["epoch", "steps", *self._keys()]
        self.primary_metric = self._primary(primary_metric, next(iter(named_sides(precisions))))

    def _keys(self) -> list[str]:
        """Return the keys of a result without the name of the evaluation."""
        keys = []
        for precision in self.precisions:
            for metric in self.metrics:
                key = f"{precision}_{metric}"
                keys += [key, *(f"{key}_{part}" for part in OF_DIFFERENCE if precision != FLOAT)]
        return keys

    def _primary(self, given: str | None, first: str) -> str:
        prefix = f"{self.name}_" if self.name else ""
        key = f"{first}_{next(iter(self.metrics))}" if given is None else given.removeprefix(prefix)
        if given is not None and given in self._keys():  # The name of the evaluation may be that of a precision.
            key = given
        if key not in self._keys():
            raise ValueError(f"primary_metric '{given}' is not a key of the result; valid: {', '.join(self._keys())}")
        return f"{prefix}{key}"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1, *args: Any, **kwargs: Any
    ) -> dict[str, float]:
        """Evaluate a model.

        Args:
            model: The SentenceTransformer.
            output_path: Folder of the CSV file; None writes none.
            epoch: The epoch of the training, which the CSV file records; −1 outside of trainings.
            steps: The step of the training.
            args: Ignored.
            kwargs: Ignored.

        Returns:
            The metrics by key.

        Raises:
            ValueError: For a similarity other than cosine and dot product, embeddings with NaN, and a number of dimensions that a
                precision cannot pack into bytes.
        """
        moment = (
            "" if epoch == -1 else f" after epoch {epoch}" if steps == -1 else f" in epoch {epoch} after {steps} steps"
        )
        logger.info("Quantized retrieval evaluation of the model on the %s dataset%s:", self.name, moment)
        values = self._values(model)
        result = {f"{precision}_{metric}": float(v.mean()) for (precision, metric), v in values.items()}
        result |= self._differences(values)
        result = {key: result[key] for key in self._keys()}
        for key, value in result.items():
            logger.info("%s: %.4f", key, value)
        if output_path is not None and self.write_csv:
            self._append(Path(output_path) / self.csv_file, [epoch, steps, *result.values()])
        prefixed: dict[str, float] = self.prefix_name_to_metrics(result, self.name)
        self.store_metrics_in_model_card_data(model, prefixed, epoch, steps)
        return prefixed

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings that the model's card shows."""
        truncated = {} if self.truncate_dim is None else {"truncate_dim": self.truncate_dim}
        return {"precisions": list(self.precisions), **truncated}

    @torch.no_grad()
    def _values(self, model: Any) -> dict[tuple[str, str], np.ndarray]:
        """Return the values of each query, (q,) float64, by precision and metric."""
        if model.similarity_fn_name not in ("cosine", "dot"):
            raise ValueError(
                f"the model compares embeddings by '{model.similarity_fn_name}'; set model.similarity_fn_name to cosine or dot"
            )
        unit = model.similarity_fn_name == "cosine"
        queries = self._encoded(model.encode_query, self.queries, "query", unit)
        documents = self._encoded(model.encode_document, self.corpus, "document", unit)
        used = {precision for pair in self.precisions.values() for precision in pair if precision in RANGED}
        ranges: dict[str, Range] = {
            precision: (QuantileRange if precision in QUANTILE else MinMaxRange)().fit(documents) for precision in used
        }
        depth = max(k for _, k in self.metrics.values())
        values = {}
        for name, (query_precision, document_precision) in self.precisions.items():
            best = rank(
                _decoded(queries, query_precision, ranges, unit),
                documents,
                lambda block, precision=document_precision: _decoded(block, precision, ranges, unit),  # type: ignore[misc]
                depth,
            )
            gains = np.stack([np.isin(row, relevant) for row, relevant in zip(best, self.relevant, strict=True)])
            for metric, (compute, k) in self.metrics.items():
                values[name, metric] = compute(gains[:, :k].astype(np.float64), self.judged, k)
        return values

    def _encoded(self, encode: Any, texts: list[str], side: str, unit: bool) -> torch.Tensor:
        embeddings: torch.Tensor = encode(
            texts,
            prompt=self.prompts[side],
            batch_size=self.batch_size,
            show_progress_bar=self.show_progress_bar,
            convert_to_tensor=True,
            truncate_dim=self.truncate_dim,
        ).float()
        if not bool(embeddings.isfinite().all()):
            raise NotFiniteError(f"embeddings of {side} texts contain NaN or Inf; the model has diverged")
        return torch.nn.functional.normalize(embeddings, dim=1) if unit else embeddings

    def _differences(self, values: dict[tuple[str, str], np.ndarray]) -> dict[str, float]:
        """Return the mean paired differences to float32 with their intervals, by key."""
        compared = [pair for pair in values if pair[0] != FLOAT]
        if not compared:
            return {}
        paired = np.stack([values[pair] - values[FLOAT, pair[1]] for pair in compared])[:, None]
        ends = bootstrap_intervals([paired], resamples=self.resamples)
        result: dict[str, float] = {}
        for (precision, metric), *parts in zip(compared, paired.mean(axis=(1, 2)), *ends, strict=True):
            result |= {f"{precision}_{metric}_{part}": float(v) for part, v in zip(OF_DIFFERENCE, parts, strict=True)}
        return result

    def _append(self, path: Path, row: list[Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        exists = path.is_file()
        with path.open("a", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerows([row] if exists else [self.csv_headers, row])


def _metric(name: str) -> tuple[Callable[[np.ndarray, list[list[int]], int], np.ndarray], int]:
    """Return the function and the cutoff of a metric such as 'ndcg@10'."""
    match = NAMED.fullmatch(name)
    if match is None or match[1] not in METRICS:
        raise ValueError(f"unknown metric '{name}'; valid: {', '.join(f'{known}@k' for known in METRICS)} with k ≥ 1")
    return METRICS[match[1]], int(match[2])


def _decoded(embeddings: torch.Tensor, precision: str, ranges: Mapping[str, Any], unit: bool) -> torch.Tensor:
    """Quantize embeddings and decode their codes; see `qatlab.evaluation.ranking.values`."""
    if precision == FLOAT:
        return embeddings
    fitted, dim = ranges.get(precision), embeddings.shape[1]
    codes = quantize_embeddings(embeddings, precision, fitted)
    values: torch.Tensor = dequantize_embeddings(codes, precision, fitted, dim=dim)
    return torch.nn.functional.normalize(values, dim=1) if unit and precision in COARSE else values


def rank(
    queries: torch.Tensor, documents: torch.Tensor, decode: Callable[[torch.Tensor], torch.Tensor], depth: int
) -> np.ndarray:
    """Return the positions of the documents with the largest inner products, best first; ties keep the order of documents.

    Args:
        queries: (q, dim) float32.
        documents: (d, dim) float32.
        decode: Function that returns the stored values of a block of documents, of the same shape.
        depth: Number of documents to return per query.

    Returns:
        (q, min(depth, d)) int64.
    """
    best = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
    at_once = max(1, SCORES_AT_ONCE // len(queries))
    for first in range(0, len(documents), at_once):
        scores = queries @ decode(documents[first : first + at_once]).T + 0.0  # which turns −0 into 0
        # Read as an integer, a float is in the same order as others of its sign. The position completes the sort key.
        bits = scores.view(torch.int32)
        ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
        positions = torch.arange(first, first + scores.shape[1], device=scores.device)
        keys = torch.cat([best, ordered * (LAST + 1) + (LAST - positions)], dim=1)
        best = keys.topk(min(depth, keys.shape[1]), dim=1).values
    positions_of_best: np.ndarray = (LAST - best % (LAST + 1)).cpu().numpy()
    return positions_of_best
