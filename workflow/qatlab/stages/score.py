"""score: rankings of a task's documents at every output precision, from one encoding."""

from itertools import groupby
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qatlab.artifact import write_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.errors import UserError
from qatlab.evaluation.axes import OnAxes, on_axes
from qatlab.evaluation.metrics import name_and_cutoff, per_query
from qatlab.evaluation.outputs import outputs
from qatlab.evaluation.ranking import SideRanges, rank, side_ranges
from qatlab.evaluation.stopwatch import Stopwatch
from qatlab.quantization.ranges import RANGES, Range


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes scores.json, per_query.parquet, timings.json and, for integer precisions, quantization_ranges/.

    They hold the mean of each metric at each output; each query's values; what a search took; what the index is laid over.
    """
    faiss.omp_set_num_threads(threads or 1)
    config = EvaluateConfig.model_validate(description["config"])
    embeddings = _embeddings(inputs["encode"])
    document_ids, query_ids = (
        pq.read_table(inputs["task"] / f"{name}.parquet")["id"].to_pylist() for name in ("documents", "queries")
    )
    relevance = _relevance(inputs["task"] / "qrels.parquet")
    judged = [[grade for grade in relevance[query].values() if grade > 0] for query in query_ids]
    depth = max(name_and_cutoff(metric)[1] for metric in config.metrics)
    trained = {path.stem: Range.load(path) for path in sorted((inputs["encode"] / RANGES).glob("*.npz"))}
    scores, timings, columns = [], [], {"query_id": query_ids}
    for axes, of_axes in groupby(outputs(config), key=lambda made: (made.rotation, made.dimensions)):
        alike = list(of_axes)
        queries, documents = _on_axes(embeddings, *axes, config.similarity)
        ranges = side_ranges(alike, queries, documents, config, trained)
        _save_ranges(ranges, alike[0].axes, output / RANGES)
        for made in alike:
            watch = Stopwatch()
            best = rank(queries, documents, made, ranges.get(made.ranges, SideRanges()), depth, watch=watch)
            timings.append(
                {
                    **made.described(documents.dim),
                    "stored_bytes": made.stored_bytes(documents.dim),
                    "queries_per_second": len(query_ids) / watch.seconds,
                    "threads": threads or 1,
                }
            )
            gains = np.array(
                [[relevance[q].get(document_ids[d], 0) for d in row] for q, row in zip(query_ids, best, strict=True)]
            )
            for metric in config.metrics:
                values = per_query(metric, gains, judged)
                columns[f"{made.name}/{metric}"] = values
                scores.append(
                    {
                        **made.described(documents.dim),
                        "metric": metric,
                        "value": float(values.mean()),
                        "stderr": standard_error(values),
                        "queries": len(values),
                    }
                )
    pq.write_table(pa.table(columns), output / "per_query.parquet")
    write_json(output / "scores.json", scores)
    write_json(output / "timings.json", timings)


def _embeddings(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    queries, documents = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("queries", "documents"))
    if queries.shape[1] != documents.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} dimensions, documents {documents.shape[1]}")
    return queries, documents


def _on_axes(
    embeddings: tuple[np.ndarray, np.ndarray], rotation: RotationConfig, dimensions: int | None, similarity: str
) -> tuple[OnAxes, OnAxes]:
    try:
        return on_axes(*embeddings, rotation, dimensions, similarity)
    except ValueError as error:
        what = f"rotations {rotation.label}" if rotation.kind != "none" else f"dimensions {dimensions}"
        raise UserError(f"evaluate.{what}: {error}") from None


def _save_ranges(ranges: dict[str, SideRanges], axes: str, folder: Path) -> None:
    """Of the documents; those of queries are the same but for per_call."""
    for kind, fitted in ranges.items():
        for precision, of_documents in fitted.documents.items():
            folder.mkdir(exist_ok=True)
            of_documents.save(folder / f"{axes}-{precision}-{kind}.npz")


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean over queries; 0 for a single query."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _relevance(path: Path) -> dict[str, dict[str, int]]:
    judgements: dict[str, dict[str, int]] = {}
    for row in pq.read_table(path).to_pylist():
        judgements.setdefault(row["query_id"], {})[row["doc_id"]] = row["relevance"]
    return judgements
