"""Withheld records: where each query's answer stands among its own hard negatives, and how far from them.

Figures of held-out records as electroglyph's EmbeddingGemma study gives them. What they take is in cost.csv.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qatlab.evaluation.planned import METRICS
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
    """A row per method, deployment, output and task: means over records and seeds, and the shares of ranks.

    Seeds that are missing are left out, and counted.

    Args:
        runs: the study's runs.
        tasks: those of the kind reranking.
        missing: what is not there.
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
    told_anyway = [
        *(["task"] if len(tasks) == 1 else []),
        *(["rotation"] if set(table["rotation"]) == {"none"} else []),
        *(["integer kernel"] if table["integer kernel"].nunique() < 3 else []),
    ]
    return table.drop(columns=told_anyway)


def _row(form: Form, task: str, figures: dict[str, Figures], varied: list[str]) -> dict[str, object]:
    of = {name: _values(by_form[form], task) for name, by_form in figures.items()}
    gone = np.isnan(of["rank"]).all(axis=1)
    gaps = figures["rank"].gaps.get(form, {})
    lacks = [gaps.get(seed, OK) if left_out else OK for seed, left_out in zip(figures["rank"][form], gone, strict=True)]
    if gone.all():
        shown = (*(metric_label(name) for name in FORMATS), *RANKS, "records")
        return {**labels(form, varied), "task": task, **dict.fromkeys(shown, worst(lacks)), NOTE: note(lacks)}
    of = {name: values[~gone] for name, values in of.items()}
    shares = {
        name: f"{((of['rank'] >= first) & (of['rank'] <= last)).mean():.1%}" for name, (first, last) in RANKS.items()
    }
    return {
        **labels(form, varied),
        "task": task,
        **{metric_label(name): form_ % of[name].mean() for name, form_ in FORMATS.items()},
        **shares,
        "records": of["rank"].shape[1],
        **({NOTE: note(lacks)} if gone.any() else {}),
    }


def _values(figures: BySeed, task: str) -> np.ndarray:
    """(seeds, records)."""
    return np.stack([by_task[task] for by_task in figures.values()])


@TABLES.register("withheld")
class WithheldRecords(Table):
    """Table of each query's answer among its own hard negatives."""

    place = 50
    caption = """\
Records withheld from training: each query's answer among hard negatives of its own. Accuracy@1 and MRR are of the best-placed
positive, a negative that ties standing before it; positive similarity and margin (the least similar positive less the most similar
negative) are cosine similarities of what is stored; the last columns are shares of records by that rank.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
        return "reranking" in study.kinds.values()

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        seeds = gathered.over.partition(",")[0]
        return f"Withheld records: each query's answer among its own hard negatives ({seeds}){gathered.kernel_note}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        axes = gathered.study.chosen_axes
        return withheld(gathered.runs, gathered.results, gathered.withheld, gathered.missing, axes)
