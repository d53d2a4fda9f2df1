"""Parity of the grid trained for and the grid shipped: each deployment against the fake-quantized forward pass of training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.machines import kernel_note
from qatlab.tables.missing import STATUS, by_seed, cell
from qatlab.tables.names import is_simulation
from qatlab.tables.table import TABLES, Table, drift_references
from qatlab.tables.wide import row_keys

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


SAME_GRID = 0.9995  # minimum cosine similarity of a text's embeddings under two implementations of one grid


def parity(drift: pd.DataFrame, runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row per scheme and method, with one column per deployment: minimum (and mean) cosine similarity over all texts.

    Args:
        drift: drift.csv; only comparisons with forward passes of training are used.
        runs: the study's runs, which have the scheme of each.
    """
    schemes = {run.name: run.scheme for run in runs}
    chosen = drift[[is_simulation(reference) for reference in drift["reference"]]]
    chosen = chosen.assign(scheme=chosen["run"].map(schemes))
    keys = ["scheme", *row_keys(chosen)]
    complete, statuses = by_seed(chosen, [*keys, "deploy"])
    grouped = complete.groupby([*keys, "deploy"], sort=False, dropna=False).agg(
        least=("min", "min"), mean=("mean", "mean")
    )
    similarities = {key: f"{row['least']:.6f} ({row['mean']:.6f})" for key, row in grouped.iterrows()}
    cell_statuses = statuses.set_index([*keys, "deploy"])[STATUS]
    cells = pd.Series(
        [cell(similarities.get(key, ""), group) for key, group in cell_statuses.items()], index=cell_statuses.index
    )
    order = list(dict.fromkeys(chosen["deploy"]))
    return cells.unstack("deploy")[order].reset_index().rename_axis(columns=None)


@TABLES.register("parity")
class Parity(Table):
    """Table of whether the grid trained for is the grid shipped."""

    place = 130
    caption = """\
Whether the grid trained for is the grid shipped: each deployment's embeddings against the fake-quantized forward pass of
training. Minimum cosine similarity over all texts of the tasks (mean in brackets). At .9995 or more the two grids are the same. A
lower value means another grid, or the same grid with different rounding decisions: where activations are quantized per tensor, a
difference in a value's last digit can move it into the next cell, which changes the values computed from it.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a deployment is compared with a forward pass of training."""
        return any(map(is_simulation, drift_references(study)))

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        similarity = "Least (mean) cosine similarity of a text to the fake-quantized forward pass of training"
        return f"{similarity}; at {SAME_GRID:g} or more the grids are one{kernel_note(gathered.drift)}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return parity(gathered.drift, gathered.runs)
