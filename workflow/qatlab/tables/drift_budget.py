"""Matrix products of quantized ONNX files that change embeddings most, for deployments with a drift budget."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from qatlab.artifact import read_json
from qatlab.deployments.onnx import BUDGET_FILE
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.missing import OK, WHOLE, Missing
from qatlab.tables.table import TABLES, Table

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


FIGURES = ("budget", "drift", "worst nodes (drift without them)", "left in float")


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
                rows.append({"run": run.name, "deploy": deploy, **dict.fromkeys(FIGURES, status)})
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
        """Return whether the study has results for this table."""
        return any(run.budgets for run in study.runs)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        return "Drift of quantized ONNX files against their budget: mean cosine distance to the float file, on training texts"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        return drift_budget(gathered.runs, gathered.results, gathered.missing)
