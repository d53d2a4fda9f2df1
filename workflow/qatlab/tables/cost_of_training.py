"""Cost of quantizing weights in training: memory and time of a step by scheme, for full fine-tuning and LoRA."""

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
    """Build a table with one row per method that trains.

    Values are medians over seeds, and their ratios to those of the counterpart: the method that is trained in the same way without
    the scheme. A column `missing` is added if a row lacks seeds.

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
    measures = ["peak_memory_bytes", "seconds_per_step", "trained_parameters"]
    grouped = trained.groupby(keys, sort=False, dropna=False)
    medians = grouped[measures].median().reset_index().to_dict("records")
    for row, statuses in zip(medians, grouped[STATUS].agg(list), strict=True):
        row[STATUS] = statuses
    counterparts = {run.method: run.counterpart for run in runs if run.counterpart}
    by_method = {(row["method"], *(row[key] for key in varied)): row for row in medians}
    rows = []
    for row in medians:
        counterpart = by_method.get((counterparts.get(row["method"]), *(row[key] for key in varied)))
        rows.append(
            {key: row[key] for key in keys}
            | {
                "trained parameters (M)": _median(row, "trained_parameters", "%.2f", 1e6),
                "peak memory (MB)": _median(row, "peak_memory_bytes", "%.2f", 1e6),
                "s/step": _median(row, "seconds_per_step", "%.3f"),
                "memory / without": _ratio(row, counterpart, "peak_memory_bytes"),
                "s/step / without": _ratio(row, counterpart, "seconds_per_step"),
            }
        )
    table = pd.DataFrame(rows)
    complete = all(worst(row[STATUS]) == OK for row in medians)
    return table if complete else table.assign(**{NOTE: [note(row[STATUS]) for row in medians]})


def _median(row: dict[Any, Any], measure: str, number_format: str, unit: float = 1.0) -> str:
    return number_format % (row[measure] / unit) if OK in row[STATUS] else worst(row[STATUS])


def _ratio(row: dict[Any, Any], counterpart: dict[Any, Any] | None, measure: str) -> str | None:
    """Return the ratio of two medians; their worst status if either lacks seeds; None without a counterpart."""
    if counterpart is None:
        return None
    status = worst([*row[STATUS], *counterpart[STATUS]])
    return f"{row[measure] / counterpart[measure]:.3f}" if status == OK else status


@TABLES.register("cost_of_training")
class CostOfTraining(Table):
    """Table of memory and time of a training step by scheme."""

    place = 180
    caption = """\
Peak memory and time of a training step by weight scheme, for full fine-tuning and LoRA, and their ratios to the same training
without the scheme. Memory is the peak that PyTorch allocated on a GPU, or the process's peak resident size on a CPU.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has results for this table."""
        return trains(study)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        return f"Cost of a training step by scheme, and over the same training without it ({MEASURED})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        return cost_of_training(gathered.cost, gathered.runs)
