"""QAT − PTQ: a model trained for a scheme against its PTQ counterpart, trained without it and quantized to it after training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.differences import DIFFERENCE, judged
from qatlab.tables.missing import OK, worst
from qatlab.tables.names import TEXT
from qatlab.tables.per_query import BySeed, Form, mean_cell, paired, seed_means, statuses
from qatlab.tables.table import TABLES, Table

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


def qat_minus_ptq(
    results: dict[Form, BySeed], runs: Sequence[RunRecord], varied: list[str], lower_is_better: bool = False
) -> pd.DataFrame:
    """Return one row per scheme, method, deployment and output precision.

    Values are means of the tasks; differences are paired by seed, query and whatever else the matrix varies.

    Args:
        results: per-query results of one metric.
        runs: the study's runs; `matched` names the deployments on the grid that a run was trained for, `counterpart` the method
            of its PTQ counterpart.
        varied: the matrix keys, besides method and seed, that become columns.
        lower_is_better: whether smaller values of the metric are better.
    """
    trained = {run.method: run for run in runs if run.counterpart}
    rows, pairs = [], []
    for form in results:
        run = trained.get(form.method)
        if run is None or form.deploy not in run.matched or form.rotation != "none":
            continue
        counterpart = form._replace(method=run.counterpart or "")  # with the same integer kernel
        if counterpart in results and paired(results[form], results[counterpart]):
            labels = {"scheme": run.matched[form.deploy], "QAT method": form.method, "PTQ of": counterpart.method}
            labels |= dict(zip(varied, form.varied, strict=True))
            rows.append(
                {
                    **labels,
                    "deploy": form.deploy,
                    "output precision": form.output,
                    **_values(results, form, counterpart),
                }
            )
            pairs.append((form, counterpart))
    table = pd.DataFrame(rows)
    if {form.output for form in results} == {TEXT}:
        table = table.drop(columns="output precision", errors="ignore")
    judgements = judged(results, pairs, lower_is_better).drop(columns=DIFFERENCE, errors="ignore")
    return pd.concat([table, judgements], axis=1)


def _values(results: dict[Form, BySeed], form: Form, counterpart: Form) -> dict[str, object]:
    """Return the cells of a row, over the seeds that both variants have; after a failure, a status replaces the difference."""
    status = worst([*statuses(results, form), *statuses(results, counterpart)])
    if status != OK:
        means = {"PTQ": mean_cell(results, counterpart), "QAT": mean_cell(results, form)}
        return {**means, "QAT − PTQ": status, "seeds": status}
    qat, ptq = seed_means(results[form]), seed_means(results[counterpart])
    shared = [seed for seed in qat if seed in ptq]
    before, after = np.array([ptq[seed] for seed in shared]), np.array([qat[seed] for seed in shared])
    return {
        "PTQ": _cell(before, "%.4f"),
        "QAT": _cell(after, "%.4f"),
        "QAT − PTQ": _cell(after - before, "%+.4f"),
        "seeds": len(shared),
    }


def _cell(values: np.ndarray, form: str) -> str:
    return form % values.mean() + (f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "")


@TABLES.register("qat_minus_ptq")
class QatMinusPtq(Table):
    """Table of the benefit of training for a scheme over quantizing after training."""

    place = 120
    caption = """\
Benefit of training for a scheme: the model trained for it minus the baseline quantized to the same scheme after training, both as
shipped, paired by seed and query; mean of the tasks. This is not the difference from the float model. Intervals are from a bootstrap
over queries and seeds, p-values from a permutation test over queries, corrected for all rows of the table (Holm).
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a run that was trained for a scheme has a PTQ counterpart."""
        return any(run.matched and run.counterpart for run in study.runs)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        comparison = "training for a scheme against quantizing after training"
        return f"{gathered.label}, mean of the tasks: {comparison} ({gathered.judged}{gathered.with_seeds})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return qat_minus_ptq(gathered.figures, gathered.runs, gathered.varied, gathered.lower_is_better)
