"""Each query's figure, of every form that a study ships embeddings in: what differences are paired by."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from qatlab.artifact import read_json
from qatlab.evaluation.scores_file import read_scores
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


def per_query(runs: list[dict[str, Any]], results: Path, metrics: Mapping[str, str]) -> dict[Form, BySeed]:
    """The figures of one metric a task, from the score artifacts.

    Args:
        runs: the study's run descriptions.
        metrics: by task; others are left out.
    """
    figures: dict[Form, BySeed] = {}
    for run in runs:
        for entry in run["evaluations"]:
            if "score" in entry and entry["task"] in metrics:
                kernel = read_json(results / entry["encode"] / "machine.json")["integer_kernel"] or ""
                for score, values in _columns(results / entry["score"], metrics[entry["task"]]):
                    form = Form(
                        run["method"],
                        tuple(run["varied"].values()),
                        entry["deploy"],
                        kernel,
                        score["rotation"],
                        output_label(score),
                    )
                    figures.setdefault(form, {}).setdefault(run["seed"], {})[entry["task"]] = values
    return figures


def _columns(folder: Path, metric: str) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Of each output, in the order of scores.json, which is that of the columns."""
    scores = [score for score in read_scores(folder) if score["metric"] == metric]
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
    """The mean of the tasks' means, by seed."""
    return {seed: float(np.mean([v.mean() for v in tasks.values()])) for seed, tasks in figures.items()}
