"""Figures of a task at every output, from one encoding."""

from importlib import import_module
from itertools import groupby
from pathlib import Path

import faiss
import numpy as np

from qatlab.arrays import load_array, pickles_refused
from qatlab.artifact import read_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.errors import UserError
from qatlab.evaluation.axes import OnAxes, on_axes
from qatlab.evaluation.outputs import outputs
from qatlab.evaluation.ranking import SideRanges, side_ranges
from qatlab.evaluation.scores_file import Scored, ScoreRow, TimingRow, standard_error
from qatlab.evaluation.stopwatch import Stopwatch
from qatlab.evaluation.task import Task, load_task
from qatlab.job import JobDescription
from qatlab.models.similarity import SIMILARITY_FILE, check_similarity
from qatlab.progress import say
from qatlab.quantization.ranges import RANGES, Range
from qatlab.quantization.rotations import TooFewEmbeddings

ROWS_AT_ONCE = 1 << 16
# By kind of task; loaded when needed, since SciPy's statistics take longer to load than most tasks to score.
FIGURES = {
    "retrieval": "qatlab.evaluation.retrieval",
    "similarity": "qatlab.evaluation.similarity",
    "reranking": "qatlab.evaluation.reranking",
}


def score(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> Scored:
    """Return the figures at every output, and write the ranges of integer precisions to quantization_ranges/."""
    faiss.omp_set_num_threads(threads or 1)
    config = _with_similarity(EvaluateConfig.model_validate(description.config), inputs["encode"], description)
    task = load_task(inputs["task"])
    embeddings = _embeddings(inputs["encode"], task)
    trained = {path.stem: _range(path) for path in sorted((inputs["encode"] / RANGES).glob("*.npz"))}
    training = load_array(inputs["training"] / "documents.npy") if "training" in inputs else None
    figures = getattr(import_module(FIGURES[task.kind]), f"{task.kind}_metrics")
    scores: list[ScoreRow] = []
    timings: list[TimingRow] = []
    columns: dict[str, list[str] | np.ndarray] = {"query_id": task.query_ids}
    for axes, of_axes in groupby(outputs(config, task.kind), key=lambda made: (made.rotation, made.dimensions)):
        alike = list(of_axes)
        sides = _on_axes(embeddings, training, *axes, config, description)
        if sides is None:
            continue
        queries, documents = sides
        fitted_on = documents.of(training) if training is not None else None
        ranges = side_ranges(alike, queries, documents, config, trained, fitted_on)
        _save_ranges(ranges, alike[0].axes, output / RANGES)
        for made in alike:
            watch = Stopwatch()
            found = figures(queries, documents, task, made, ranges.get(made.ranges, SideRanges()), config, watch)
            columns |= {f"{made.name}/{metric}": values for metric, values in found.items()}
            described = made.described(documents.dim)
            scores += [
                {
                    **described,
                    "metric": metric,
                    "value": float(values.mean()),
                    "stderr": standard_error(values),
                    "queries": len(values),
                }
                for metric, values in found.items()
            ]
            if watch.seconds:
                timings.append(
                    {
                        **described,
                        "stored_bytes": made.stored_bytes(documents.dim),
                        "queries_per_second": len(task.query_ids) / watch.seconds,
                        "threads": threads or 1,
                    }
                )
    return Scored(columns, scores, timings)


def _with_similarity(config: EvaluateConfig, encoding: Path, description: JobDescription) -> EvaluateConfig:
    """Return the configuration with cosine or dot for "model": the similarity of the model whose embeddings are scored."""
    if config.similarity != "model":
        return config
    named = read_json(encoding / SIMILARITY_FILE)["similarity"]
    return config.model_copy(update={"similarity": check_similarity(named, description.label)})


def _range(path: Path) -> Range:
    with pickles_refused(path):
        return Range.load(path)


def _embeddings(folder: Path, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Of queries and documents; raises UserError where they are not those of the task, or hold NaN."""
    queries, documents = (load_array(folder / f"{name}.npy") for name in ("queries", "documents"))
    if queries.shape[1] != documents.shape[1]:
        raise UserError(
            f"queries have {queries.shape[1]} dimensions, documents {documents.shape[1]}; encode both with one model"
        )
    for what, side, names in (("queries", queries, task.query_ids), ("documents", documents, task.document_ids)):
        if len(side) != len(names):
            raise UserError(f"the task has {len(names)} {what}, the encoding {len(side)}; encode this very task")
        for first in range(0, len(side), ROWS_AT_ONCE):
            finite = np.isfinite(side[first : first + ROWS_AT_ONCE]).all(axis=1)
            if not finite.all():
                bad = first + int(finite.argmin())
                raise UserError(
                    f"embeddings of {what} hold NaN or Inf (the first in row {bad + 1}); the model gives them for such texts"
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
    """Both sides on the axes; None for a baseline of `bit_axes` that there are too few documents for, which a line says.

    Raises:
        UserError: for axes of `rotations` that cannot be fitted, and more dimensions than there are.
    """
    try:
        return on_axes(*embeddings, rotation, dimensions, config.similarity, training)
    except ValueError as error:
        if isinstance(error, TooFewEmbeddings) and rotation not in config.rotations:
            say(f"score {description.label}: {error}; bits on these axes ({rotation.label}) are left out")
            return None
        what = f"dimensions {dimensions}" if rotation.plain else f"rotations {rotation.label}"
        raise UserError(f"evaluate.{what}: {error}") from None


def _save_ranges(ranges: dict[str, SideRanges], axes: str, folder: Path) -> None:
    """Of the documents; those of queries are the same but for per_call."""
    for kind, fitted in ranges.items():
        for precision, of_documents in fitted.documents.items():
            folder.mkdir(exist_ok=True)
            of_documents.save(folder / f"{axes}-{precision}-{kind}.npz")
