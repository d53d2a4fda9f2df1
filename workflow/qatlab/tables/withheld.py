"""Held-out triplets: rank of each query's answer among its own hard negatives, and its margin over them.

The metrics are those of electroglyph's EmbeddingGemma study. The time that they take is in cost.csv.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qatlab.evaluation.scores_file import METRICS
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.differences import labels
from qatlab.tables.missing import NOTE, OK, WHOLE, Missing, note, worst
from qatlab.tables.names import metric_label
from qatlab.tables.per_query import BySeed, Figures, Form, per_query
from qatlab.tables.table import TABLES, Table

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


RANKS = {"rank 1": (1, 1), "2–3": (2, 3), "4–10": (4, 10), "over 10": (11, np.inf)}
FORMATS = {"accuracy@1": "%.4f", "mrr": "%.4f", "positive_similarity": "%.4f", "margin": "%+.4f"}


def withheld(
    runs: Sequence[RunRecord],
    results: Path,
    tasks: list[str],
    missing: Missing = WHOLE,
    axes: Collection[str] = ("none",),
) -> pd.DataFrame:
    """Return one row per method, deployment, output and task: means over triplets and seeds, and the shares of ranks.

    Missing seeds are left out, and their number is noted.

    Args:
        runs: the study's runs.
        results: folder of the artifacts.
        tasks: names of the tasks of the kind `reranking`.
        missing: the missing artifacts and their status.
        axes: labels of the rotations that are shown.
    """
    figures = {
        name: per_query(runs, results, dict.fromkeys(tasks, name), missing).on_axes(axes)
        for name in METRICS["reranking"]
    }
    varied = list(runs[0].varied)
    rows = [_row(form, task, figures, varied) for task in tasks for form in figures["rank"]]
    table = pd.DataFrame(rows)
    if NOTE in table:
        table[NOTE] = table[NOTE].fillna("")
    constant_columns = [
        *(["task"] if len(tasks) == 1 else []),
        *(["rotation"] if set(table["rotation"]) == {"none"} else []),
        *(["integer kernel"] if table["integer kernel"].nunique() < 3 else []),
    ]
    return table.drop(columns=constant_columns)


def _row(form: Form, task: str, figures: dict[str, Figures], varied: list[str]) -> dict[str, object]:
    values = {name: _values(by_form[form], task) for name, by_form in figures.items()}
    is_missing = np.isnan(values["rank"]).all(axis=1)
    gaps = figures["rank"].gaps.get(form, {})
    statuses = [
        gaps.get(seed, OK) if left_out else OK for seed, left_out in zip(figures["rank"][form], is_missing, strict=True)
    ]
    if is_missing.all():
        shown = (*(metric_label(name) for name in FORMATS), *RANKS, "records")
        return {**labels(form, varied), "task": task, **dict.fromkeys(shown, worst(statuses)), NOTE: note(statuses)}
    values = {name: by_seed[~is_missing] for name, by_seed in values.items()}
    shares = {
        name: f"{((values['rank'] >= first) & (values['rank'] <= last)).mean():.1%}"
        for name, (first, last) in RANKS.items()
    }
    return {
        **labels(form, varied),
        "task": task,
        **{metric_label(name): pattern % values[name].mean() for name, pattern in FORMATS.items()},
        **shares,
        "records": values["rank"].shape[1],
        **({NOTE: note(statuses)} if is_missing.any() else {}),
    }


def _values(figures: BySeed, task: str) -> np.ndarray:
    """Return the results of a task as an array (seeds, triplets)."""
    return np.stack([by_task[task] for by_task in figures.values()])


@TABLES.register("withheld")
class WithheldRecords(Table):
    """Table of the rank of each query's answer among its own hard negatives."""

    place = 50
    caption = """\
Held-out triplets: the rank of each query's answer among its own hard negatives. Accuracy@1 and MRR use the rank of the best
positive, where a negative with the same score ranks before it. Positive similarity and margin (the least similar positive minus the most
similar negative) are cosine similarities of the stored embeddings. The last columns are shares of triplets by rank.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has a task of the kind `reranking`."""
        return "reranking" in study.kinds.values()

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        seeds = gathered.over.partition(",")[0]
        return f"Held-out triplets: each query's answer among its own hard negatives ({seeds}){gathered.kernel_note}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        axes = gathered.study.chosen_axes
        return withheld(gathered.runs, gathered.results, gathered.withheld, gathered.missing, axes)
