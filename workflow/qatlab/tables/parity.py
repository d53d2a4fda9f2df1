"""Is the grid trained for the grid shipped? Each deployment against the fake-quantized forward pass of the training."""

import pandas as pd

from qatlab.tables.missing import STATUS, by_seed, cell
from qatlab.tables.names import is_simulation
from qatlab.tables.wide import row_keys

SAME_GRID = 0.9995  # least cosine similarity of a text that two implementations of one grid leave


def parity(drift: pd.DataFrame, runs: list[dict[str, object]]) -> pd.DataFrame:
    """A row per scheme and method, a column per deployment: least (and mean) cosine similarity, text by text.

    Args:
        drift: drift.csv.
        runs: the study's run descriptions.
    """
    schemes = {run["run"]: run["scheme"] for run in runs}
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
