"""Which processors int8 figures come from: rows of different integer kernels are never mixed without saying so."""

import pandas as pd

KERNEL = "integer kernel"


def kernels(table: pd.DataFrame) -> list[str]:
    """The integer kernels that the rows of scores.csv or drift.csv were computed with, where they multiplied integers."""
    return sorted(set(table["integer_kernel"].dropna()))


def with_kernel(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table, and the columns that keep rows of different kernels apart: none where there is only one."""
    if len(kernels(table)) < 2:
        return table, []
    return table.assign(**{KERNEL: table["integer_kernel"].fillna("")}), [KERNEL]


def kernel_note(table: pd.DataFrame) -> str:
    """What a title says of it."""
    found = kernels(table)
    if len(found) > 1:
        return f"; int8 rows come from processors that differ ({', '.join(found)}) and do not compare with one another"
    return f"; int8 computed with {found[0]}" if found else ""
