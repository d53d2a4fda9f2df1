"""Each query's figure, of every form that a study ships embeddings in: what differences are paired by."""

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
    """How embeddings reach a user: whose they are, how they were made, and how they are stored."""

    method: str
    varied: tuple[Any, ...]  # what else the matrix varies, in the order of its keys
    deploy: str
    kernel: str  # what integers were multiplied with, or ""
    rotation: str
    output: str  # as tables call it


BySeed = dict[int | None, dict[str, np.ndarray]]
"""By seed (None for an untrained model), by task: (queries,) float64, in the order of the task's queries."""


class Figures(dict[Any, BySeed]):
    """Figures by what they are of. Those that a failed job would have made are NaN, and `gaps` says of which seeds, and why.

    `outputs` has, by form, what scores.csv says of the output; `doc_bytes` is None where no job has told it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[Any, OutputColumns] = {}
        self.gaps: dict[Any, dict[int | None, str]] = {}
        self.lengths: dict[str, np.ndarray] = {}  # by task, some form's

    def put(self, key: Any, seed: int | None, task: str, values: np.ndarray) -> None:
        """Figures that are there."""
        self.lengths.setdefault(task, values)
        self.setdefault(key, {}).setdefault(seed, {})[task] = values

    def put_gap(self, key: Any, seed: int | None, task: str, status: str) -> None:
        """Figures that are not; `close` makes them as long as the others."""
        self.gaps.setdefault(key, {}).setdefault(seed, status)
        self.setdefault(key, {}).setdefault(seed, {})[task] = nothing_like(None)

    def describe(self, key: Any, output: OutputColumns) -> None:
        """Keep what a row of scores says of an output; a failed job's does not know how many bytes a document takes."""
        if key not in self.outputs or self.outputs[key]["doc_bytes"] is None:
            self.outputs[key] = output

    def on_axes(self, labels: Collection[str]) -> "Figures":
        """Those of forms whose rotation is among the labels."""
        chosen = Figures()
        chosen.lengths, chosen.outputs = self.lengths, self.outputs
        chosen.update({form: by_seed for form, by_seed in self.items() if form.rotation in labels})
        chosen.gaps = {form: gaps for form, gaps in self.gaps.items() if form.rotation in labels}
        return chosen

    def close(self) -> None:
        """Ends the reading."""
        for key, seeds in self.gaps.items():
            for seed in seeds:
                for task, values in self[key][seed].items():
                    if np.isnan(values).all():
                        self[key][seed][task] = nothing_like(self.lengths.get(task))


def statuses(figures: Mapping[Any, BySeed], key: Any) -> list[str]:
    """Of each seed of a key."""
    gaps = figures.gaps.get(key, {}) if isinstance(figures, Figures) else {}
    return [gaps.get(seed, OK) for seed in figures[key]]


def per_query(
    runs: Sequence[RunRecord], results: Path, metrics: Mapping[str, str], missing: Missing = WHOLE
) -> Figures:
    """The figures of one metric a task, from the score artifacts.

    Args:
        runs: the study's runs.
        metrics: by task; others are left out.
        missing: what is not there.
    """
    figures, kernels = Figures(), KernelsSeen(runs, results, missing)
    for run in runs:
        for entry in run.evaluations:
            if entry.score is not None and entry.task in metrics:
                of = (run.method, run.cell, entry.deploy, kernels.of(run, entry) or "")
                status, metric = missing.status(entry.score), metrics[entry.task]
                if status != OK:
                    for score in _of_metric(missing.figures(entry.score), metric):
                        form = Form(*of, score["rotation"], output_label(score))
                        figures.describe(form, score)
                        figures.put_gap(form, run.seed, entry.task, status)
                    continue
                for score, values in _columns(results / entry.score, metric):
                    form = Form(*of, score["rotation"], output_label(score))
                    figures.describe(form, score)
                    figures.put(form, run.seed, entry.task, values)
    figures.close()
    return figures


def _of_metric(scores: list[ScoreRow], metric: str) -> list[ScoreRow]:
    return [score for score in scores if score["metric"] == metric]


def _columns(folder: Path, metric: str) -> Iterator[tuple[ScoreRow, np.ndarray]]:
    """Of each output, in the order of scores.json, which is that of the columns."""
    scores = _of_metric(read_scores(folder), metric)
    table = pq.read_table(folder / "per_query.parquet")
    columns = [name for name in table.column_names if name.endswith(f"/{metric}")]
    for score, column in zip(scores, columns, strict=True):
        yield score, table[column].to_numpy()


def paired(ours: BySeed, theirs: BySeed) -> list[np.ndarray]:
    """One form's figures less another's, of each task: (seeds, queries), over the seeds and tasks that both have.

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
    """The mean of the tasks' means, by seed; NaN where a task's figures are not there."""
    return {seed: float(np.mean([v.mean() for v in tasks.values()])) for seed, tasks in figures.items()}


def mean_cell(figures: Mapping[Any, BySeed], key: Any) -> str:
    """The mean over the seeds that have all tasks, and which have not."""
    values = [mean for mean in seed_means(figures[key]).values() if not np.isnan(mean)]
    return cell(f"{np.mean(values):.4f}" if values else "", statuses(figures, key))
