"""Integer kernels of the CPUs that int8 results come from: rows of different kernels are never mixed without a note."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from qatlab.artifact import read_json
from qatlab.study.record import Evaluation, Part, RunRecord
from qatlab.tables.missing import OK, WHOLE, Missing

KERNEL = "integer kernel"


class KernelsSeen:
    """Integer kernel of each encoding.

    A missing encoding is assigned the kernel of others of the same deployment, preferably of the same method, so that it is counted
    in the row in which it would have been.

    Args:
        runs: the study's runs.
        results: the folder of artifacts.
        missing: artifacts that are missing.
        parts: whether kernels are read from the parts of decompositions instead of the evaluations.
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
        """Return the kernel of an encoding; None if no integers were multiplied, or if the kernel is unknown.

        Args:
            run: a run of the study.
            entry: an evaluation of this run, or a part of its decomposition.
        """
        if self.missing.status(entry.encode) == OK:
            return self._read(entry)
        return self.seen.get((run.method, entry.deploy), self.seen.get((entry.deploy,)))

    def _read(self, entry: Evaluation | Part) -> str | None:
        kernel: str | None = read_json(self.results / entry.encode / "machine.json")["integer_kernel"]
        return kernel


def kernels(table: pd.DataFrame) -> list[str]:
    """Return the sorted integer kernels that rows of scores.csv or drift.csv were computed with, if they multiplied integers."""
    return sorted(set(table["integer_kernel"].dropna()))


def with_kernel(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the table and the columns that separate rows of different kernels; no column if there is only one kernel."""
    if len(kernels(table)) < 2:
        return table, []
    return table.assign(**{KERNEL: table["integer_kernel"].fillna("")}), [KERNEL]


def kernel_note(table: pd.DataFrame) -> str:
    """Return the note on integer kernels in titles; empty if no integers were multiplied."""
    names = kernels(table)
    if len(names) > 1:
        return f"; int8 rows come from CPUs that differ ({', '.join(names)}) and do not compare with one another"
    return f"; int8 computed with {names[0]}" if names else ""
