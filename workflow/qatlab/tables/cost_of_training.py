"""What quantizing weights in training costs: memory and time of a step by scheme, for full fine-tuning and LoRA."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.missing import NOTE, OK, STATUS, note, with_status, worst
from qatlab.tables.names import MEASURED
from qatlab.tables.table import TABLES, Table, trains
from qatlab.tables.wide import VARIED_PREFIX

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


def cost_of_training(cost: pd.DataFrame, runs: Sequence[RunRecord]) -> pd.DataFrame:
    """A row per method that trains: medians over seeds, and over its twin's, the method trained alike without the scheme.

    Args:
        cost: cost.csv.
        runs: the study's runs.
    """
    cost = with_status(cost)
    known = cost["seconds_per_step"].notna()
    lacks = ~known & cost["seed"].notna() & cost[STATUS].ne(OK)
    trained = cost[known | lacks].assign(**{STATUS: cost[STATUS].where(lacks, OK)}).drop_duplicates("run")
    varied = [column for column in cost.columns if column.startswith(VARIED_PREFIX)]
    keys = ["method", *varied, "scheme", "tuning"]
    figures = ["peak_memory_bytes", "seconds_per_step", "trained_parameters"]
    grouped = trained.groupby(keys, sort=False, dropna=False)
    medians = grouped[figures].median().reset_index().to_dict("records")
    for row, statuses in zip(medians, grouped[STATUS].agg(list), strict=True):
        row[STATUS] = statuses
    twins = {run.method: run.counterpart for run in runs if run.counterpart}
    by_method = {(row["method"], *(row[key] for key in varied)): row for row in medians}
    rows = []
    for row in medians:
        twin = by_method.get((twins.get(row["method"]), *(row[key] for key in varied)))
        rows.append(
            {key: row[key] for key in keys}
            | {
                "trained parameters (M)": _figure(row, "trained_parameters", "%.2f", 1e6),
                "peak memory (MB)": _figure(row, "peak_memory_bytes", "%.2f", 1e6),
                "s/step": _figure(row, "seconds_per_step", "%.3f"),
                "memory / without": _over(row, twin, "peak_memory_bytes"),
                "s/step / without": _over(row, twin, "seconds_per_step"),
            }
        )
    table = pd.DataFrame(rows)
    whole = all(worst(row[STATUS]) == OK for row in medians)
    return table if whole else table.assign(**{NOTE: [note(row[STATUS]) for row in medians]})


def _figure(row: dict[Any, Any], figure: str, form: str, unit: float = 1.0) -> str:
    return form % (row[figure] / unit) if OK in row[STATUS] else worst(row[STATUS])


def _over(row: dict[Any, Any], twin: dict[Any, Any] | None, figure: str) -> str | None:
    """Nothing is divided by what lacks seeds, nor that by anything."""
    if twin is None:
        return None
    word = worst([*row[STATUS], *twin[STATUS]])
    return f"{row[figure] / twin[figure]:.3f}" if word == OK else word


@TABLES.register("cost_of_training")
class CostOfTraining(Table):
    """Table of memory and time of a training step by scheme."""

    place = 180
    caption = """\
Peak memory and time of a training step by weight scheme, for full fine-tuning and LoRA, and their ratios to the same training
without the scheme. Memory is what PyTorch allocated on a GPU, or the process's peak resident size on a CPU.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
        return trains(study)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        return f"Cost of a training step by scheme, and over the same training without it ({MEASURED})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return cost_of_training(gathered.cost, gathered.runs)
