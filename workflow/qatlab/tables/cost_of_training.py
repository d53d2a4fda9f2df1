"""What quantizing weights in training costs: memory and time of a step by scheme, for full fine-tuning and LoRA."""

from typing import Any

import pandas as pd

from qatlab.tables.wide import VARIED_PREFIX


def cost_of_training(cost: pd.DataFrame, runs: list[dict[str, Any]]) -> pd.DataFrame:
    """A row per method that trains: medians over seeds, and over its twin's, the method trained alike without the scheme.

    Args:
        cost: cost.csv.
        runs: the study's run descriptions.
    """
    trained = cost[cost["seconds_per_step"].notna()].drop_duplicates("run")
    varied = [column for column in cost.columns if column.startswith(VARIED_PREFIX)]
    keys = ["method", *varied, "scheme", "tuning"]
    figures = ["peak_memory_bytes", "seconds_per_step", "trained_parameters"]
    medians = trained.groupby(keys, sort=False, dropna=False)[figures].median().reset_index().to_dict("records")
    twins = {run["method"]: run["twin"] for run in runs if run["twin"]}
    by_method = {(row["method"], *(row[key] for key in varied)): row for row in medians}
    rows = []
    for row in medians:
        twin = by_method.get((twins.get(row["method"]), *(row[key] for key in varied)))
        rows.append(
            {key: row[key] for key in keys}
            | {
                "trained parameters (M)": f"{row['trained_parameters'] / 1e6:.2f}",
                "peak memory (MB)": f"{row['peak_memory_bytes'] / 1e6:.2f}",
                "s/step": f"{row['seconds_per_step']:.3f}",
                "memory / without": _over(row, twin, "peak_memory_bytes"),
                "s/step / without": _over(row, twin, "seconds_per_step"),
            }
        )
    return pd.DataFrame(rows)


def _over(row: dict[Any, Any], twin: dict[Any, Any] | None, figure: str) -> str | None:
    return None if twin is None else f"{row[figure] / twin[figure]:.3f}"
