"""Withheld records: where each query's answer stands among its own hard negatives, and how far from them.

Figures of held-out records as electroglyph's EmbeddingGemma study gives them. What they take is in cost.csv.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qatlab.evaluation.reranking import FIGURES
from qatlab.tables.differences import labels
from qatlab.tables.missing import NOTE, OK, WHOLE, Missing, note, worst
from qatlab.tables.names import metric_label
from qatlab.tables.per_query import BySeed, Figures, Form, per_query

RANKS = {"rank 1": (1, 1), "2–3": (2, 3), "4–10": (4, 10), "over 10": (11, np.inf)}
FORMATS = {"accuracy@1": "%.4f", "mrr": "%.4f", "positive_similarity": "%.4f", "margin": "%+.4f"}


def withheld(
    runs: list[dict[str, Any]],
    results: Path,
    tasks: list[str],
    missing: Missing = WHOLE,
    axes: Collection[str] = ("none",),
) -> pd.DataFrame:
    """A row per method, deployment, output and task: means over records and seeds, and the shares of ranks.

    Seeds that are missing are left out, and counted.

    Args:
        runs: the study's run descriptions.
        tasks: those of the kind reranking.
        missing: what is not there.
        axes: labels of the rotations that are shown.
    """
    figures = {name: per_query(runs, results, dict.fromkeys(tasks, name), missing).on_axes(axes) for name in FIGURES}
    varied = list(runs[0]["varied"])
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


def _row(form: Form, task: str, figures: dict[str, Figures], varied: list[str]) -> dict[str, Any]:
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
