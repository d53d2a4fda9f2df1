"""score: rankings of a task's documents at every output precision, from one encoding."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qatlab.artifact import write_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.errors import UserError
from qatlab.evaluation.metrics import name_and_cutoff, per_query
from qatlab.evaluation.ranking import index_ranges, rank, scoring, unit_length
from qatlab.quantization.precisions import bytes_per_embedding, sides
from qatlab.quantization.ranges import RANGES, Range
from qatlab.quantization.rotations import fit_rotation


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes scores.json, per_query.parquet and, for integer precisions, quantization_ranges/.

    They hold the mean of each metric for each rotation and precision; each query's values; what the index is laid over.
    """
    config = EvaluateConfig.model_validate(description["config"])
    documents, queries = (
        np.load(inputs["encode"] / f"{name}.npy", allow_pickle=False) for name in ("documents", "queries")
    )
    document_ids, query_ids = (
        pq.read_table(inputs["task"] / f"{name}.parquet")["id"].to_pylist() for name in ("documents", "queries")
    )
    relevance = _relevance(inputs["task"] / "qrels.parquet")
    judged = [[grade for grade in relevance[query].values() if grade > 0] for query in query_ids]
    depth = max(name_and_cutoff(metric)[1] for metric in config.metrics)
    trained = {path.stem: Range.load(path) for path in sorted((inputs["encode"] / RANGES).glob("*.npz"))}
    scores, columns = [], {"query_id": query_ids}
    for rotation in config.rotations:
        turned_queries, turned_documents = _prepared(queries, documents, rotation, config.similarity)
        ranges = index_ranges(turned_documents, config, trained)
        for precision, fitted in ranges.items():
            (output / RANGES).mkdir(exist_ok=True)
            fitted.save(output / RANGES / f"{rotation.label}-{precision}.npz")
        for precision in config.precisions:
            best = rank(turned_queries, turned_documents, precision, config, ranges, depth)
            gains = np.array(
                [[relevance[q].get(document_ids[d], 0) for d in row] for q, row in zip(query_ids, best, strict=True)]
            )
            query_precision, doc_precision = sides(precision)
            for metric in config.metrics:
                values = per_query(metric, gains, judged)
                name = precision if rotation.kind == "none" else f"{rotation.label}/{precision}"
                columns[f"{name}/{metric}"] = values
                scores.append(
                    {
                        "query_precision": query_precision,
                        "doc_precision": doc_precision,
                        "rotation": rotation.label,
                        "doc_bytes": bytes_per_embedding(doc_precision, turned_documents.shape[1]),
                        "scoring": scoring(precision),
                        "metric": metric,
                        "value": float(values.mean()),
                        "stderr": standard_error(values),
                        "queries": len(values),
                    }
                )
    pq.write_table(pa.table(columns), output / "per_query.parquet")
    write_json(output / "scores.json", scores)


def _prepared(
    queries: np.ndarray, documents: np.ndarray, rotation: RotationConfig, similarity: str
) -> tuple[np.ndarray, np.ndarray]:
    """Both sides turned by a rotation fitted on the documents; for cosine similarity, of unit length before and after."""
    if similarity == "cosine":
        queries, documents = unit_length(queries), unit_length(documents)
    if rotation.kind == "none":
        return queries, documents
    try:
        fitted = fit_rotation(rotation.kind, documents, rotation.bits, rotation.center, rotation.seed)
    except ValueError as error:
        raise UserError(f"evaluate.rotations {rotation.label}: {error}") from None
    queries, documents = fitted(queries), fitted(documents)
    return (unit_length(queries), unit_length(documents)) if similarity == "cosine" else (queries, documents)


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean over queries; 0 for a single query."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _relevance(path: Path) -> dict[str, dict[str, int]]:
    judgements: dict[str, dict[str, int]] = {}
    for row in pq.read_table(path).to_pylist():
        judgements.setdefault(row["query_id"], {})[row["doc_id"]] = row["relevance"]
    return judgements
