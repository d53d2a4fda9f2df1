"""Per-query results of every variant in which a study ships embeddings, by which differences are paired."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from qatlab.evaluation.outputs import OutputColumns
from qatlab.evaluation.scores_file import ScoreRow, read_scores
from qatlab.study.record import RunRecord
from qatlab.tables.machines import KernelsSeen
from qatlab.tables.missing import OK, WHOLE, Missing, cell, nothing_like
from qatlab.tables.outputs import output_label


class Form(NamedTuple):
    """One variant of shipped embeddings: its method and cell, its deployment, and the output in which embeddings are stored."""

    method: str
    varied: tuple[Any, ...]  # what else the matrix varies, in the order of its keys
    deploy: str
    kernel: str  # instructions that multiplied the integers, or ""
    rotation: str
    output: str  # its label in tables


BySeed = dict[int | None, dict[str, np.ndarray]]
"""Results by seed (None for an untrained model), then by task: (queries,) float64, in the order of the task's queries."""


class Figures(dict[Any, BySeed]):
    """Per-query results by variant. The results of failed jobs are NaN.

    Attributes:
        outputs: by variant, the columns of scores.csv that describe its output; `doc_bytes` is None where no job has reported it.
        gaps: by variant, the status of each seed whose results are missing.
        lengths: by task, results of any variant, which have the length of all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[Any, OutputColumns] = {}
        self.gaps: dict[Any, dict[int | None, str]] = {}
        self.lengths: dict[str, np.ndarray] = {}

    def put(self, key: Any, seed: int | None, task: str, values: np.ndarray) -> None:
        """Add the results of one seed and task."""
        self.lengths.setdefault(task, values)
        self.setdefault(key, {}).setdefault(seed, {})[task] = values

    def put_gap(self, key: Any, seed: int | None, task: str, status: str) -> None:
        """Record that the results of one seed and task are missing; `close` pads them with NaN to the common length."""
        self.gaps.setdefault(key, {}).setdefault(seed, status)
        self.setdefault(key, {}).setdefault(seed, {})[task] = nothing_like(None)

    def describe(self, key: Any, output: OutputColumns) -> None:
        """Store the description of an output; one from a failed job, which lacks the bytes per document, is replaced by a later one."""
        if key not in self.outputs or self.outputs[key]["doc_bytes"] is None:
            self.outputs[key] = output

    def on_axes(self, labels: Collection[str]) -> "Figures":
        """Return the results of the variants whose rotation has one of the labels."""
        chosen = Figures()
        chosen.lengths, chosen.outputs = self.lengths, self.outputs
        chosen.update({form: by_seed for form, by_seed in self.items() if form.rotation in labels})
        chosen.gaps = {form: gaps for form, gaps in self.gaps.items() if form.rotation in labels}
        return chosen

    def close(self) -> None:
        """Give missing results the length of the others, after all results have been added."""
        for key, seeds in self.gaps.items():
            for seed in seeds:
                for task, values in self[key][seed].items():
                    if np.isnan(values).all():
                        self[key][seed][task] = nothing_like(self.lengths.get(task))


def statuses(figures: Mapping[Any, BySeed], key: Any) -> list[str]:
    """Return the status of each seed of a variant, in the order of its results."""
    gaps = figures.gaps.get(key, {}) if isinstance(figures, Figures) else {}
    return [gaps.get(seed, OK) for seed in figures[key]]


def per_query(
    runs: Sequence[RunRecord], results: Path, metrics: Mapping[str, str], missing: Missing = WHOLE
) -> Figures:
    """Read one metric per task from the score artifacts.

    Args:
        runs: the study's runs.
        results: folder of the artifacts.
        metrics: name of the metric to read, by task; other tasks are left out.
        missing: the missing artifacts and their status.
    """
    figures, kernels = Figures(), KernelsSeen(runs, results, missing)
    for run in runs:
        for entry in run.evaluations:
            if entry.score is not None and entry.task in metrics:
                variant = (run.method, run.cell, entry.deploy, kernels.of(run, entry) or "")
                status, metric = missing.status(entry.score), metrics[entry.task]
                if status != OK:
                    for score in _of_metric(missing.figures(entry.score), metric):
                        form = Form(*variant, score["rotation"], output_label(score))
                        figures.describe(form, score)
                        figures.put_gap(form, run.seed, entry.task, status)
                    continue
                for score, values in _columns(results / entry.score, metric):
                    form = Form(*variant, score["rotation"], output_label(score))
                    figures.describe(form, score)
                    figures.put(form, run.seed, entry.task, values)
    figures.close()
    return figures


def _of_metric(scores: list[ScoreRow], metric: str) -> list[ScoreRow]:
    return [score for score in scores if score["metric"] == metric]


def _columns(folder: Path, metric: str) -> Iterator[tuple[ScoreRow, np.ndarray]]:
    """Yield each output with its per-query results, in the order of scores.json, which is the order of the columns."""
    scores = _of_metric(read_scores(folder), metric)
    table = pq.read_table(folder / "per_query.parquet")
    columns = [name for name in table.column_names if name.endswith(f"/{metric}")]
    for score, column in zip(scores, columns, strict=True):
        yield score, table[column].to_numpy()


def paired(ours: BySeed, theirs: BySeed) -> list[np.ndarray]:
    """Subtract one variant's results from another's: for each task an array (seeds, queries), over the seeds and tasks that both have.

    An untrained model, which has no seed, is compared with every seed of the other.
    """
    seeds: list[int | None] = [seed for seed in dict.fromkeys([*ours, *theirs]) if seed is not None] or [None]
    pairs = [(_of_seed(ours, seed), _of_seed(theirs, seed)) for seed in seeds]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    tasks = [task for task in both[0][0] if all(task in side for pair in both for side in pair)] if both else []
    return [np.stack([a[task] - b[task] for a, b in both]) for task in tasks]


def _of_seed(figures: BySeed, seed: int | None) -> dict[str, np.ndarray] | None:
    return figures.get(None if None in figures else seed)


def seed_means(figures: BySeed) -> dict[int | None, float]:
    """Return the mean of the tasks' means, by seed; NaN where a task's results are missing."""
    return {seed: float(np.mean([v.mean() for v in tasks.values()])) for seed, tasks in figures.items()}


def mean_cell(figures: Mapping[Any, BySeed], key: Any) -> str:
    """Return the text of a cell: the mean over the seeds that have all tasks, and the status of the others."""
    values = [mean for mean in seed_means(figures[key]).values() if not np.isnan(mean)]
    return cell(f"{np.mean(values):.4f}" if values else "", statuses(figures, key))
