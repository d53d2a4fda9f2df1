"""Stage mteb_results: scores of tasks that mteb contains, in its own format, for its own tools.

`mteb.ResultCache("results/studies/<study>/mteb").load_results(load_experiments="match_name")` reads them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mteb import ResultCache, TaskResult, get_task
from mteb.models import ModelMeta

from qatlab.artifact import read_json
from qatlab.evaluation.outputs import read_scores
from qatlab.job import JobDescription
from qatlab.progress import say
from qatlab.quantization.precisions import pair_name
from qatlab.study.record import Evaluation, RunRecord, StudyRecord
from qatlab.tasks.mteb import mteb_metric
from qatlab.tasks.task import TASKS, MtebSource

USUAL = ("none", "flat", "mteb_compat", None)
AXES = ("scoring", "ranges", "rotation", "rescoring", "dimensions", "index")


class Result(NamedTuple):
    """One evaluation, under the names that mteb has for its model, task and experiment."""

    model: str
    revision: str
    experiment: dict[str, object]
    task: str
    dataset_revision: str
    split: str
    subset: str
    seconds: float
    scores: dict[str, float]


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write mteb/results/<model>/<revision>/<Task>.json; outputs other than float32 on the model's own axes are below experiments/."""
    cache = ResultCache(output / "mteb")
    for result in _results(StudyRecord.model_validate(description.config).runs, inputs["results"]):
        task = get_task(result.task)
        main = task.metadata.main_score
        if main not in result.scores:
            say(f"mteb's main score of {result.task} is {main}, which is not scored here: no result in its format")
            continue
        scores = {**result.scores, "main_score": result.scores[main]}
        written = TaskResult.from_task_results(task, {result.split: {result.subset: scores}}, result.seconds)
        meta = ModelMeta.create_empty(
            {"name": result.model, "revision": result.revision, "experiment_kwargs": result.experiment or None}
        )
        cache.save_to_cache(written.model_copy(update={"dataset_revision": result.dataset_revision}), meta)


def _results(runs: Sequence[RunRecord], results: Path) -> Iterator[Result]:
    for run in runs:
        for entry in run.evaluations:
            source = _source(results, entry) if entry.score is not None else None
            if source is None or entry.score is None:
                continue
            name = f"{Path(run.model).name}-{run.name}-{entry.deploy}"
            name = re.sub("[=:]", "-", name)
            revision = run.deployed[entry.deploy].rpartition("-")[2]
            seconds = read_json(results / entry.encode / "cost.json")["seconds"]
            for experiment, scores in _outputs(results / entry.score):
                yield Result(f"qatlab/{name}", revision, experiment, *source, seconds=seconds, scores=scores)


def _source(results: Path, entry: Evaluation) -> MtebSource | None:
    """Return the source of a task in mteb, or None for a task that mteb lacks or scores in another way."""
    folder = results / read_json(results / entry.encode / "config.json")["inputs"]["task"]
    manifest, values = read_json(folder / "manifest.json"), read_json(folder / "config.json")["config"]
    task = TASKS.get(values["source"]).model_construct(**{key: values[key] for key in values if key != "task"})
    return task.mteb_source(manifest) if task.in_mteb(manifest["kind"]) else None


def _outputs(folder: Path) -> Iterator[tuple[dict[str, object], dict[str, float]]]:
    """Yield the experiment of each output (empty for plain float32), and its scores by mteb's names of metrics."""
    experiments: dict[str, tuple[dict[str, object], dict[str, float]]] = {}
    for row in read_scores(folder):
        query, document = row["query_precision"], row["doc_precision"]
        plain = query == document == "float32"
        experiment: dict[str, object] = {} if plain else {"output_dtypes": pair_name(query, document)}
        usual = (*USUAL, "dot") if plain else USUAL
        columns: Mapping[str, object] = row
        experiment |= {axis: columns[axis] for axis in AXES if columns[axis] not in usual}
        if row["scoring"] == "mteb_compat":
            experiment.pop("ranges", None)  # always those of each call, as in mteb's CompressionWrapper
        _, scores = experiments.setdefault(repr(experiment), (experiment, {}))
        if (name := mteb_metric(row["metric"])) is not None:
            scores.setdefault(name, row["value"])
    yield from experiments.values()
