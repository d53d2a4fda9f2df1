"""Stage engine: scores and costs of one vector search engine that stores the embeddings of a task."""

import shutil
from pathlib import Path

import faiss
import pyarrow as pa
import pyarrow.parquet as pq

from qatlab.artifact import load_array, write_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.errors import UserError
from qatlab.evaluation.axes import on_axes
from qatlab.evaluation.engines import Sides, measure
from qatlab.evaluation.outputs import Output
from qatlab.evaluation.ranking import side_ranges
from qatlab.evaluation.task import load_task
from qatlab.families.embedding.score import ranges_of_model, task_embeddings, with_similarity
from qatlab.job import JobDescription


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write engine.json, per_query.parquet and search.json.

    engine.json has one row per mode with the mean of each metric, bytes on disk and in memory, and the parameters that the engine
    reports. per_query.parquet has the values of each query, in each mode and in exact searches of the same codes. search.json has the
    durations of builds and searches.

    Raises:
        UserError: for embeddings of another task or with NaN, for an engine that refuses, and for a full disk.
    """
    faiss.omp_set_num_threads(threads or 1)
    config = with_similarity(EvaluateConfig.model_validate(description.config), inputs["encode"], description)
    task = load_task(inputs["task"])
    embeddings = task_embeddings(inputs["encode"], task)
    training = load_array(inputs["training"] / "documents.npy") if "training" in inputs else None
    queries, documents = on_axes(*embeddings, RotationConfig(), None, config.similarity)
    fitted_on = documents.of(training) if training is not None else None
    calibration = config.ranges[0]
    stored = Output(RotationConfig(), None, "float32", "int8", "dequantized", calibration, ())
    try:
        ranges = side_ranges([stored], queries, documents, config, ranges_of_model(inputs["encode"]), fitted_on)
    except ValueError as error:
        raise UserError(f"evaluate.ranges: {error}") from None
    grid = ranges[calibration].documents["int8"]
    sides = Sides.write(output / "sides", queries, documents, grid)
    measured = measure(config.engines[0], task, sides, grid, config, threads or 1, output / "work")
    for folder in ("sides", "work"):
        shutil.rmtree(output / folder)
    pq.write_table(pa.table(measured.columns), output / "per_query.parquet")
    write_json(output / "engine.json", {"ranges": calibration, "modes": measured.modes})
    write_json(output / "search.json", measured.timings)
