"""Is the grid trained for the grid shipped? Each deployment against the fake-quantized forward pass of the training."""

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


SAME_GRID = 0.9995  # least cosine similarity of a text that two implementations of one grid leave


def parity(drift: pd.DataFrame, runs: Sequence[RunRecord]) -> pd.DataFrame:
    """A row per scheme and method, a column per deployment: least (and mean) cosine similarity, text by text.

    Args:
        drift: drift.csv.
        runs: the study's runs.
    """
    schemes = {run.name: run.scheme for run in runs}
    chosen = drift[[is_simulation(reference) for reference in drift["reference"]]]
    chosen = chosen.assign(scheme=chosen["run"].map(schemes))
    keys = ["scheme", *row_keys(chosen)]
    whole, statuses = by_seed(chosen, [*keys, "deploy"])
    grouped = whole.groupby([*keys, "deploy"], sort=False, dropna=False).agg(
        least=("min", "min"), mean=("mean", "mean")
    )
    figures = {of: f"{row['least']:.6f} ({row['mean']:.6f})" for of, row in grouped.iterrows()}
    told = statuses.set_index([*keys, "deploy"])[STATUS]
    cells = pd.Series([cell(figures.get(of, ""), of_group) for of, of_group in told.items()], index=told.index)
    order = list(dict.fromkeys(chosen["deploy"]))
    return cells.unstack("deploy")[order].reset_index().rename_axis(columns=None)


@TABLES.register("parity")
class Parity(Table):
    """Table of whether the grid trained for is the grid shipped."""

    place = 130
    caption = """\
Whether the grid trained for is the grid shipped: each deployment's embeddings against the fake-quantized forward pass that
training ran in. Least cosine similarity over all texts of the tasks (mean in brackets). At .9995 or more the grids are one.
Less is another grid; or the same, whose rounding decisions drift apart: where activations are quantized by whole tensor, a
difference in a value's last digit moves it into the next cell, and that others after it.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
        return any(map(is_simulation, drift_references(study)))

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        what = "Least (mean) cosine similarity of a text to the fake-quantized forward pass of training"
        return f"{what}; at {SAME_GRID:g} or more the grids are one{kernel_note(gathered.drift)}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return parity(gathered.drift, gathered.runs)
