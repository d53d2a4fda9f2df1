"""Rank correlation of drift with loss: over cells, against the run and deployment that a reference is."""

import pandas as pd
import pytest

from conftest import AS_IT_IS
from qatlab.tables.drift import FIGURES, drift_and_loss
from records import a_run

SCORES = {  # (run, deployment) → nDCG of tasks a and b
    ("one", "float"): (0.9, 0.8),
    ("one", "int8"): (0.8, 0.75),
    ("two", "int8"): (0.6, 0.78),
}


def table(distances):
    scores = [
        {"run": run, "deploy": deploy, "task": task, "metric": metric, "rotation": "none", **AS_IT_IS, "value": value,
         "query_precision": precision, "doc_precision": precision}
        for (run, deploy), values in SCORES.items()
        for task, value in zip("ab", values, strict=True)
        for metric, precision in (("ndcg@10", "float32"), ("ndcg@10", "binary"), ("mrr@10", "float32"))
    ]  # fmt: skip
    drift = [
        {"run": run, "reference": "one/float", "deploy": "int8", "task": task, "mean_distance": distance,
         **dict.fromkeys(set(FIGURES) - {"mean_distance"})}
        for (run, task), distance in distances.items()
    ]  # fmt: skip
    runs = [a_run(name=run, references={"one/float": ("one", "float")}) for run in ("one", "two")]
    return drift_and_loss(pd.DataFrame(drift), pd.DataFrame(scores), runs, "ndcg@10").set_index("drift figure")


def test_correlation_over_cells():
    # losses: one/a .10, one/b .05, two/a .30, two/b .02; ranks 3 2 4 1 against 2 1 4 3
    correlations = table({("one", "a"): 3, ("one", "b"): 1, ("two", "a"): 9, ("two", "b"): 4, ("two", "reviews"): 5})
    row = correlations.loc["mean distance"]
    assert row["cells"] == 4  # texts without queries have no loss
    assert float(row["Spearman ρ with loss of nDCG@10"]) == pytest.approx(1 - 6 * 6 / (4 * 15))
    assert correlations.loc["rank flips", "cells"] == 0
    assert correlations["p"].isna()["rank flips"]


def test_few_cells_correlate_with_nothing():
    correlations = table({("one", "a"): 3, ("one", "b"): 1})
    assert correlations.loc["mean distance", "cells"] == 2
    assert correlations["p"].isna().all()
