"""The figure that stands for a task: of retrieval the study's first metric, of other kinds of tasks their own."""

from collections.abc import Mapping

import pandas as pd

from qatlab.config.kind import Kind
from qatlab.tables.names import metric_label

MAIN = "main score"
OF_KIND = {
    "reranking": "accuracy@1",
    "similarity": "spearman",
    "translation": "chrf",
    "language_modelling": "bits_per_byte",
}


def main_metrics(kinds: Mapping[str, Kind], retrieval: str) -> dict[str, str]:
    """By task. `kinds`: by task; `retrieval`: the study's first metric."""
    return {task: OF_KIND.get(kind, retrieval) for task, kind in kinds.items()}


def main_scores(scores: pd.DataFrame, metrics: Mapping[str, str]) -> tuple[pd.DataFrame, str]:
    """scores.csv's rows of these metrics, and what they are called: the metric, or where tasks have several, MAIN.

    Args:
        scores: scores.csv.
        metrics: by task.
    """
    chosen = scores[scores["metric"] == scores["task"].map(metrics)]
    names = list(dict.fromkeys(metrics.values()))
    return (chosen, names[0]) if len(names) == 1 else (chosen.assign(metric=MAIN), MAIN)


def main_label(metrics: Mapping[str, str]) -> str:
    """'nDCG@10', or "main score (nDCG@10; Spearman's ρ of stsbenchmark)", the metric of most tasks first, without their names."""
    tasks: dict[str, list[str]] = {}
    for task, metric in metrics.items():
        tasks.setdefault(metric, []).append(task)
    first, *others = sorted(tasks, key=lambda metric: -len(tasks[metric]))
    if not others:
        return metric_label(first)
    named = [f"{metric_label(metric)} of {', '.join(tasks[metric])}" for metric in others]
    return f"{MAIN} ({'; '.join([metric_label(first), *named])})"
