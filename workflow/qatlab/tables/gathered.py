"""The data of a study's wide tables: its long tables, and the score of each query, by which differences are paired."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from qatlab.evaluation.outputs import OutputColumns, ScoreRow, read_scores
from qatlab.statistics import Verdict
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables import long
from qatlab.tables.labels import main_label, main_scores, on_axes, output_label
from qatlab.tables.missing import OK, WHOLE, KernelsSeen, Missing, cell, kernel_note, nothing_like
from qatlab.tables.names import LOWER_IS_BETTER, TEXT


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
        verdicts: verdicts on differences that have been tested, by pairs of variants and whether lower values are better.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[Any, OutputColumns] = {}
        self.gaps: dict[Any, dict[int | None, str]] = {}
        self.lengths: dict[str, np.ndarray] = {}
        self.verdicts: dict[tuple[tuple[Any, ...], bool], list[Verdict | None]] = {}

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


class Gathered:
    """Results of a study, each read once and only when it is used.

    Args:
        study: the study's record.
        results: the folder of artifacts.
        published: the file of published results, if the study is compared with any.
        missing: artifacts that are missing.
    """

    def __init__(
        self, study: StudyRecord, results: Path, published: Path | None = None, missing: Missing = WHOLE
    ) -> None:
        self.study, self.results, self.published, self.missing = study, results, published, missing
        self.runs = study.runs
        self.baseline = study.baseline
        self.metrics = study.main_metrics

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Return the table scores.csv."""
        return long.scores(self.study.name, self.runs, self.results, self.missing)

    @cached_property
    def drift(self) -> pd.DataFrame:
        """Return the table drift.csv."""
        return long.drift(self.runs, self.results, self.missing)

    @cached_property
    def cost(self) -> pd.DataFrame:
        """Return the table cost.csv."""
        return long.cost(self.runs, self.results, self.withheld, self.missing)

    @cached_property
    def search(self) -> pd.DataFrame:
        """Return the table search.csv."""
        return long.search(self.runs, self.results, self.missing)

    @cached_property
    def chosen(self) -> pd.DataFrame:
        """Return the rows of scores.csv on the axes that `evaluate.rotations` lists."""
        return on_axes(self.scores, self.study.chosen_axes)

    @cached_property
    def main(self) -> tuple[pd.DataFrame, str]:
        """Return the rows of `chosen` with the main metric of each task, and the name of that metric."""
        return main_scores(self.chosen, self.metrics)

    @cached_property
    def on_all_axes(self) -> Figures:
        """Return the main metric of each query on all axes."""
        return per_query(self.runs, self.results, self.metrics, self.missing)

    @cached_property
    def figures(self) -> Figures:
        """Return the main metric of each query on the axes that `evaluate.rotations` lists."""
        return self.on_all_axes.on_axes(self.study.chosen_axes)

    @property
    def withheld(self) -> list[str]:
        """Return the names of the tasks of held-out triplets."""
        return [task for task, kind in self.study.kinds.items() if kind == "reranking"]

    @property
    def varied(self) -> list[str]:
        """Return the columns of the matrix besides method and seed."""
        return list(self.runs[0].varied)

    @property
    def label(self) -> str:
        """Return the label of the main metric."""
        return main_label(self.metrics)

    @property
    def lower_is_better(self) -> bool:
        """Return whether lower values of the main metric are better."""
        return set(self.metrics.values()) <= set(LOWER_IS_BETTER)

    @cached_property
    def in_text(self) -> bool:
        """Return whether all scores are those of generated texts, which have no precision."""
        return bool(self.scores["query_precision"].eq(TEXT).all())

    @cached_property
    def seeds(self) -> int:
        """Return the number of seeds."""
        return int(self.scores["seed"].nunique())

    @property
    def over(self) -> str:
        """Return the note on seeds in titles: 'one seed', or '3 seeds, ± standard deviation'."""
        return f"{self.seeds} seeds, ± standard deviation" if self.seeds > 1 else "one seed"

    @property
    def with_seeds(self) -> str:
        """Return the explanation of ± in titles; empty for a single seed."""
        return "; ± is the standard deviation over seeds" if self.seeds > 1 else ""

    @property
    def judged(self) -> str:
        """Return the note in titles on what the intervals of differences are computed over."""
        drawn = f"queries and {self.seeds} seeds" if self.seeds > 1 else "queries; one seed"
        return f"95 % intervals over {drawn}{self.kernel_note}"

    @cached_property
    def kernel_note(self) -> str:
        """Return the note in titles on the integer kernels behind the scores; empty if there are none."""
        return kernel_note(self.scores)
