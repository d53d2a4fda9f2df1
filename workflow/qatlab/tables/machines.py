"""Which processors int8 figures come from: rows of different integer kernels are never mixed without saying so."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from qatlab.artifact import read_json
from qatlab.study.record import Evaluation, Part, RunRecord
from qatlab.tables.missing import OK, WHOLE, Missing

KERNEL = "integer kernel"


class KernelsSeen:
    """What integers were multiplied with in each encoding.

    One that is missing is taken for the like of those of the same deployment, of the same method first, so that it stands in the
    row that it would have stood in.
    """

    def __init__(self, runs: Sequence[RunRecord], results: Path, missing: Missing = WHOLE, parts: bool = False) -> None:
        self.results, self.missing = results, missing
        self.seen: dict[tuple[str, ...], str | None] = {}
        for run in runs if missing else []:
            for entry in run.parts if parts else run.evaluations:
                if missing.status(entry.encode) == OK:
                    kernel = self._read(entry)
                    self.seen.setdefault((run.method, entry.deploy), kernel)
                    self.seen.setdefault((entry.deploy,), kernel)

    def of(self, run: RunRecord, entry: Evaluation | Part) -> str | None:
        """None where none were multiplied, or nothing is known.

        Args:
            run: the study's description of it.
            entry: one of its evaluations, or parts of a decomposition.
        """
        if self.missing.status(entry.encode) == OK:
            return self._read(entry)
        return self.seen.get((run.method, entry.deploy), self.seen.get((entry.deploy,)))

    def _read(self, entry: Evaluation | Part) -> str | None:
        kernel: str | None = read_json(self.results / entry.encode / "machine.json")["integer_kernel"]
        return kernel


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
