"""QAT − PTQ: a model trained for a scheme beside its twin, trained alike without it and quantized to it after training."""

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
    figures: dict[Form, BySeed], runs: Sequence[RunRecord], varied: list[str], lower_is_better: bool = False
) -> pd.DataFrame:
    """A row per scheme, method, deployment and output precision; means of the tasks, paired by seed, query and what else varies.

    Args:
        figures: of one metric.
        runs: the study's runs; `matched` names the deployments on the grid that a run was trained for, `twin`
            the method that the twin is of.
        varied: what else the matrix varies, as columns.
        lower_is_better: whether the metric is a cost.
    """
    trained = {run.method: run for run in runs if run.counterpart}
    rows, pairs = [], []
    for form in figures:
        run = trained.get(form.method)
        if run is None or form.deploy not in run.matched or form.rotation != "none":
            continue
        twin = form._replace(method=run.counterpart or "")  # of the same integer kernel too
        if twin in figures and paired(figures[form], figures[twin]):
            labels = {"scheme": run.matched[form.deploy], "QAT method": form.method, "PTQ of": twin.method}
            labels |= dict(zip(varied, form.varied, strict=True))
            rows.append(
                {**labels, "deploy": form.deploy, "output precision": form.output, **_values(figures, form, twin)}
            )
            pairs.append((form, twin))
    table = pd.DataFrame(rows)
    if {form.output for form in figures} == {TEXT}:
        table = table.drop(columns="output precision", errors="ignore")
    told = judged(figures, pairs, lower_is_better).drop(columns=DIFFERENCE, errors="ignore")
    return pd.concat([table, told], axis=1)


def _values(figures: dict[Form, BySeed], form: Form, twin: Form) -> dict[str, object]:
    """Over the seeds that both have; where one has failed, there is no difference."""
    word = worst([*statuses(figures, form), *statuses(figures, twin)])
    if word != OK:
        means = {"PTQ": mean_cell(figures, twin), "QAT": mean_cell(figures, form)}
        return {**means, "QAT − PTQ": word, "seeds": word}
    qat, ptq = seed_means(figures[form]), seed_means(figures[twin])
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
    """Table of what training for a scheme is worth over quantizing after training."""

    place = 120
    caption = """\
What training for a scheme is worth: the model trained for it less the baseline quantized to the same scheme after training,
both as shipped, seed by seed and query by query; mean of the tasks. Not the difference from the float model. Intervals are by a
bootstrap over queries and seeds, p-values by a permutation test over queries, corrected for all rows of the table (Holm).
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
        return any(run.matched and run.counterpart for run in study.runs)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        what = "training for a scheme against quantizing after training"
        return f"{gathered.label}, mean of the tasks: {what} ({gathered.judged}{gathered.with_seeds})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return qat_minus_ptq(gathered.figures, gathered.runs, gathered.varied, gathered.lower_is_better)
