"""Tables of drift: its correlation with the loss of a deployment, and the matrix products that cause most of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from qatlab.artifact import read_json
from qatlab.deployments.onnx import BUDGET_FILE
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.labels import FLOAT, precision_labels
from qatlab.tables.missing import OK, STATUS, WHOLE, Missing, with_status, worst
from qatlab.tables.names import is_simulation, metric_label
from qatlab.tables.table import TABLES, Table, compares_deployments

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered

FIGURES = {
    "min": "least cosine similarity",
    "mean_distance": "mean distance",
    "top10_overlap": "top-10 overlap",
    "rank_flips": "rank flips",
    "margin_change": "margin change",
    "kendall_tau": "Kendall's τ",
}
LEAST_CELLS = 4
LEAST_P = 1e-6  # smaller p-values are shown as below this one


def drift_and_loss(drift: pd.DataFrame, scores: pd.DataFrame, runs: Sequence[RunRecord], metric: str) -> pd.DataFrame:
    """Compute Spearman's rank correlation over the study's cells: one per run, deployment and task. Missing cells are counted.

    Args:
        drift: drift.csv.
        scores: scores.csv; only float32 outputs on the model's own axes are used.
        runs: the study's runs; their `references` map the name of a reference to its run and deployment.
        metric: the metric whose loss is correlated: the reference's value less the deployment's.

    Returns:
        One row for each measure in FIGURES.
    """
    plain = scores[(scores["metric"] == metric) & (scores["rotation"] == "none")]
    plain = plain[precision_labels(plain) == FLOAT]
    plain, drift = with_status(plain), with_status(drift)
    gone = plain[plain[STATUS] != OK].to_dict("records")
    missing = {(row["run"], row["deploy"], row["task"]): row[STATUS] for row in gone}
    plain = plain[plain[STATUS] == OK]
    values: dict[tuple[str, ...], float] = {
        (row["run"], row["deploy"], row["task"]): row["value"] for row in plain.to_dict("records")
    }
    references = {(run.name, name): tuple(where) for run in runs for name, where in run.references.items()}
    cells, lacking = [], []
    for row in drift.to_dict("records"):
        task = row["task"]
        before, after = (*references[row["run"], row["reference"]], task), (row["run"], row["deploy"], task)
        if (row[STATUS] != OK and before in {*values, *missing}) or before in missing or after in missing:
            lacking.append(worst([row[STATUS], missing.get(before, OK), missing.get(after, OK)]))
        elif before in values:
            cells.append({**row, "loss": values[before] - values[after]})
    table = pd.DataFrame(cells, columns=[*drift.columns, "loss"])
    return pd.DataFrame([_row(table, measure, metric, lacking) for measure in FIGURES])


def _row(cells: pd.DataFrame, measure: str, metric: str, lacking: list[str]) -> dict[str, object]:
    known = cells[[measure, "loss"]].astype(float).dropna()
    correlation = f"Spearman ρ with loss of {metric_label(metric)}"
    row: dict[str, object] = {"drift figure": FIGURES[measure], correlation: None, "p": None, "cells": len(known)}
    if lacking:
        row |= {correlation: worst(lacking), "p": worst(lacking), "cells": f"{len(known)} ({len(lacking)} missing)"}
    if len(known) >= LEAST_CELLS and known[measure].nunique() > 1 and known["loss"].nunique() > 1:
        from scipy.stats import spearmanr  # its import takes a second, and plans do not need it

        result = spearmanr(known[measure], known["loss"])
        p = f"{result.pvalue:.2g}" if result.pvalue >= LEAST_P else f"< {LEAST_P:g}"
        row |= {correlation: f"{result.statistic:+.3f}", "p": p}
    return row


@TABLES.register("drift_and_loss")
class DriftAndLoss(Table):
    """Table of how well drift predicts the loss of a deployment."""

    place = 150
    caption = """\
Spearman's rank correlation, over all deployments of all runs on all tasks, between a measure of drift and the loss of the primary
metric against the reference. Cells of one run or one task are not independent: read p as a guide.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study compares deployments with one another."""
        return compares_deployments(study)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        return f"Rank correlation of drift with the loss of {gathered.label}, over deployments and tasks"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        simulated = gathered.drift["reference"].map(is_simulation).astype(bool)
        return drift_and_loss(gathered.drift[~simulated], gathered.main[0], gathered.runs, gathered.main[1])


BUDGET_COLUMNS = ("budget", "drift", "worst nodes (drift without them)", "left in float")


def drift_budget(runs: Sequence[RunRecord], results: Path, missing: Missing = WHOLE) -> pd.DataFrame:
    """Build a table with one row per run and deployment with a drift budget.

    Args:
        runs: the study's runs.
        results: the folder of artifacts.
        missing: artifacts that are missing; the cells of their rows are their status.

    Returns:
        The budget, the mean cosine distance with everything quantized, the distances without the worst nodes, and the number of
        nodes left in float.
    """
    rows: list[dict[str, object]] = []
    for run in runs:
        for deploy in run.budgets:
            if (status := missing.status(run.deployed[deploy])) != OK:
                rows.append({"run": run.name, "deploy": deploy, **dict.fromkeys(BUDGET_COLUMNS, status)})
                continue
            budget = read_json(results / run.deployed[deploy] / BUDGET_FILE)
            nodes = [f"{node['node']} ({node['drift_without']:.6f})" for node in budget["nodes"]]
            rows.append(
                {
                    "run": run.name,
                    "deploy": deploy,
                    "budget": f"{budget['budget']:g}",
                    "drift": f"{budget['drift']:.6f}",
                    "worst nodes (drift without them)": "; ".join(nodes) or None,
                    "left in float": len(budget["left_out"]),
                }
            )
    return pd.DataFrame(rows)


@TABLES.register("drift_budget")
class DriftBudgets(Table):
    """Table of quantized ONNX files against their drift budget."""

    place = 160
    caption = """\
Quantized ONNX files with a drift budget: the mean cosine distance of training texts' embeddings to those of the float file, and the
matrix products whose quantization changes them most, found by bisection.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a deployment of the study has a drift budget."""
        return any(run.budgets for run in study.runs)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        return "Drift of quantized ONNX files against their budget: mean cosine distance to the float file, on training texts"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        return drift_budget(gathered.runs, gathered.results, gathered.missing)
