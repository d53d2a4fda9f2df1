"""score: rankings of a task's documents at every output precision, from one encoding."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qatlab.artifact import write_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.metrics import name_and_cutoff, per_query
from qatlab.evaluation.ranking import SCORING, rank, unit_length


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes scores.json (mean of each metric at each precision) and per_query.parquet (each query's values)."""
    config = EvaluateConfig.model_validate(description["config"])
    documents, queries = (
        np.load(inputs["encode"] / f"{name}.npy", allow_pickle=False) for name in ("documents", "queries")
    )
    if config.similarity == "cosine":
        documents, queries = unit_length(documents), unit_length(queries)
    document_ids, query_ids = (
        pq.read_table(inputs["task"] / f"{name}.parquet")["id"].to_pylist() for name in ("documents", "queries")
    )
    relevance = _relevance(inputs["task"] / "qrels.parquet")
    judged = [[grade for grade in relevance[query].values() if grade > 0] for query in query_ids]
    depth = max(name_and_cutoff(metric)[1] for metric in config.metrics)
    scores, columns = [], {"query_id": query_ids}
    for precision in config.precisions:
        best = rank(queries, documents, precision, config.ranges, depth)
        gains = np.array(
            [[relevance[q].get(document_ids[d], 0) for d in row] for q, row in zip(query_ids, best, strict=True)]
        )
        for metric in config.metrics:
            values = per_query(metric, gains, judged)
            columns[f"{precision}/{metric}"] = values
            scores.append(
                {
                    "precision": precision,
                    "scoring": SCORING[precision],
                    "metric": metric,
                    "value": float(values.mean()),
                    "stderr": standard_error(values),
                    "queries": len(values),
                }
            )
    pq.write_table(pa.table(columns), output / "per_query.parquet")
    write_json(output / "scores.json", scores)


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean over queries; 0 for a single query."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _relevance(path: Path) -> dict[str, dict[str, int]]:
    judgements: dict[str, dict[str, int]] = {}
    for row in pq.read_table(path).to_pylist():
        judgements.setdefault(row["query_id"], {})[row["doc_id"]] = row["relevance"]
    return judgements
