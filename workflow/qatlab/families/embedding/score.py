"""Scores of a task at every output, from one encoding."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import faiss
import numpy as np

from qatlab.artifact import load_array, pickles_refused, read_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.errors import UserError
from qatlab.evaluation.axes import OnAxes, on_axes
from qatlab.evaluation.outputs import Scored, ScoreRow, TimingRow, outputs, standard_error
from qatlab.evaluation.ranking import SideRanges, side_ranges
from qatlab.evaluation.search import Stopwatch
from qatlab.evaluation.task import Task, load_task
from qatlab.evaluation.task_metrics import AgreementMetrics, reranking_metrics, retrieval_metrics, similarity_metrics
from qatlab.job import JobDescription
from qatlab.models.settings import SIMILARITY_FILE, check_similarity
from qatlab.progress import say
from qatlab.quantization.ranges import RANGES, Range
from qatlab.quantization.rotations import UnsuitedAxes

ROWS_AT_ONCE = 1 << 16
METRICS_OF = {
    "retrieval": retrieval_metrics,
    "similarity": similarity_metrics,
    "reranking": reranking_metrics,
}  # by kind of task


def score(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> Scored:
    """Return the scores at every output, and write the ranges of integer precisions to quantization_ranges/.

    Args:
        description: the job's description, with an `EvaluateConfig`.
        inputs: artifacts of the job by role; `task`, its `encode`, and `training` (embeddings of training documents) if needed.
        output: folder of quantization_ranges/.
        threads: number of threads of searches, or None for one.

    Raises:
        UserError: for embeddings of another task, embeddings that are NaN or infinite, and axes that cannot be fitted.
    """
    faiss.omp_set_num_threads(threads or 1)
    config = with_similarity(EvaluateConfig.model_validate(description.config), inputs["encode"], description)
    task = load_task(inputs["task"])
    embeddings = task_embeddings(inputs["encode"], task)
    trained = ranges_of_model(inputs["encode"])
    training = load_array(inputs["training"] / "documents.npy") if "training" in inputs else None
    metrics_of: Callable[..., dict[str, np.ndarray]] = (
        AgreementMetrics() if task.kind == "agreement" else METRICS_OF[task.kind]
    )
    scores: list[ScoreRow] = []
    timings: list[TimingRow] = []
    columns: dict[str, list[str] | np.ndarray] = {"query_id": task.query_ids}
    for axes, outputs_on_axes in groupby(
        outputs(config, task.kind), key=lambda output: (output.rotation, output.dimensions)
    ):
        same_axes = list(outputs_on_axes)
        sides = _on_axes(embeddings, training, *axes, config, description)
        if sides is None:
            continue
        queries, documents = sides
        fitted_on = documents.of(training) if training is not None else None
        ranges = side_ranges(same_axes, queries, documents, config, trained, fitted_on)
        _save_ranges(ranges, same_axes[0].axes, output / RANGES)
        for scored_output in same_axes:
            watch = Stopwatch()
            values_by_metric = metrics_of(
                queries, documents, task, scored_output, ranges.get(scored_output.ranges, SideRanges()), config, watch
            )
            columns |= {f"{scored_output.name}/{metric}": values for metric, values in values_by_metric.items()}
            described = scored_output.described(documents.dim)
            scores += [
                {
                    **described,
                    "metric": metric,
                    "value": float(values.mean()),
                    "stderr": standard_error(values),
                    "queries": len(values),
                }
                for metric, values in values_by_metric.items()
            ]
            if watch.seconds:
                timings.append(
                    {
                        **described,
                        "stored_bytes": scored_output.stored_bytes(documents.dim),
                        "queries_per_second": len(task.query_ids) / watch.seconds,
                        "threads": threads or 1,
                    }
                )
    return Scored(columns, scores, timings)


def with_similarity(config: EvaluateConfig, encoding: Path, description: JobDescription) -> EvaluateConfig:
    """Return the configuration with cosine or dot for "model": the similarity of the model whose embeddings are scored."""
    if config.similarity != "model":
        return config
    named = read_json(encoding / SIMILARITY_FILE)["similarity"]
    return config.model_copy(update={"similarity": check_similarity(named, description.label)})


def ranges_of_model(encoding: Path) -> dict[str, Range]:
    """Return the ranges that are saved with the model of an encoding, by precision."""
    return {path.stem: _range(path) for path in sorted((encoding / RANGES).glob("*.npz"))}


def _range(path: Path) -> Range:
    with pickles_refused(path):
        return Range.load(path)


def task_embeddings(folder: Path, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return the embeddings of queries and documents; raise UserError if they are not those of the task, or contain NaN."""
    queries, documents = (load_array(folder / f"{name}.npy") for name in ("queries", "documents"))
    if queries.shape[1] != documents.shape[1]:
        raise UserError(
            f"queries have {queries.shape[1]} dimensions, documents {documents.shape[1]}; encode both with one model"
        )
    for table, side, names in (("queries", queries, task.query_ids), ("documents", documents, task.document_ids)):
        if len(side) != len(names):
            raise UserError(f"the task has {len(names)} {table}, the encoding {len(side)}; encode this task")
        for first in range(0, len(side), ROWS_AT_ONCE):
            finite = np.isfinite(side[first : first + ROWS_AT_ONCE]).all(axis=1)
            if not finite.all():
                bad = first + int(finite.argmin())
                raise UserError(
                    f"embeddings of {table} contain NaN or Inf (the first in row {bad + 1}); check the training of the model"
                )
    return queries, documents


def _on_axes(
    embeddings: tuple[np.ndarray, np.ndarray],
    training: np.ndarray | None,
    rotation: RotationConfig,
    dimensions: int | None,
    config: EvaluateConfig,
    description: JobDescription,
) -> tuple[OnAxes, OnAxes] | None:
    """Return queries and documents on the axes; None, after a message, for `bit_axes` that these embeddings do not admit.

    ITQ needs at least as many documents as dimensions, and an over-complete frame more bits than dimensions.

    Args:
        embeddings: embeddings of queries and documents, each (n, dim).
        training: embeddings of training documents, if axes are fitted on them.
        rotation: the rotation of the axes.
        dimensions: number of leading dimensions that are used, or None for all.
        config: the evaluation's configuration.
        description: the job's description, for messages.

    Raises:
        UserError: for axes of `rotations` that cannot be fitted, and for more dimensions than the embeddings have.
    """
    try:
        return on_axes(*embeddings, rotation, dimensions, config.similarity, training)
    except ValueError as error:
        if isinstance(error, UnsuitedAxes) and rotation not in config.rotations:
            say(f"score {description.label}: {error}; bits on these axes ({rotation.label}) are left out")
            return None
        setting = f"dimensions {dimensions}" if rotation.plain else f"rotations {rotation.label}"
        raise UserError(f"evaluate.{setting}: {error}") from None


def _save_ranges(ranges: dict[str, SideRanges], axes: str, folder: Path) -> None:
    """Write the ranges of the documents; those of queries are equal, except for `per_call`."""
    for kind, fitted in ranges.items():
        for precision, document_range in fitted.documents.items():
            folder.mkdir(exist_ok=True)
            document_range.save(folder / f"{axes}-{precision}-{kind}.npz")
