"""Main metric of a task: the study's first metric for retrieval, and a fixed metric for each other kind of task."""

from collections.abc import Mapping

import pandas as pd

from qatlab.evaluation.task import Kind
from qatlab.tables.names import metric_label

MAIN = "main score"
OF_KIND = {
    "reranking": "accuracy@1",
    "similarity": "spearman",
    "translation": "chrf",
    "language_modelling": "bits_per_byte",
}


def main_metrics(kinds: Mapping[str, Kind], retrieval: str) -> dict[str, str]:
    """Return the main metric of each task, from the kind of each task and the study's metric for retrieval."""
    return {task: OF_KIND.get(kind, retrieval) for task, kind in kinds.items()}


def main_scores(scores: pd.DataFrame, metrics: Mapping[str, str]) -> tuple[pd.DataFrame, str]:
    """Return the rows of scores.csv with these metrics, and the name of the metric: MAIN if tasks have different metrics.

    Args:
        scores: scores.csv.
        metrics: main metric by task.
    """
    chosen = scores[scores["metric"] == scores["task"].map(metrics)]
    names = list(dict.fromkeys(metrics.values()))
    return (chosen, names[0]) if len(names) == 1 else (chosen.assign(metric=MAIN), MAIN)


def main_label(metrics: Mapping[str, str]) -> str:
    """Return the label of the main metric: 'nDCG@10', or "main score (nDCG@10; Spearman's ρ of stsbenchmark)".

    The metric of most tasks comes first, without the names of its tasks.
    """
    tasks: dict[str, list[str]] = {}
    for task, metric in metrics.items():
        tasks.setdefault(metric, []).append(task)
    first, *others = sorted(tasks, key=lambda metric: -len(tasks[metric]))
    if not others:
        return metric_label(first)
    named = [f"{metric_label(metric)} of {', '.join(tasks[metric])}" for metric in others]
    return f"{MAIN} ({'; '.join([metric_label(first), *named])})"
