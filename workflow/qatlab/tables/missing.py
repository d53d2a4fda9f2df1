"""Results that a study's tables lack because runs failed or were not run, and the integer kernels that int8 results depend on.

The status of a missing result is written in its cell, which is neither blank nor a mean of fewer runs. Rows of different integer
kernels are kept separate. The functions of this module leave the tables of a complete study unchanged.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from qatlab.artifact import read_json
from qatlab.evaluation.outputs import ScoreRow
from qatlab.evaluation.task import Kind
from qatlab.registry import Strict
from qatlab.study.record import Evaluation, IncompleteRun, Part, RunRecord

OK: Final = "ok"
FAILED: Final = "failed"
NOT_RUN: Final = "not run"
STATUS = "status"
NOTE = "missing"  # column of wide tables with the number of seeds that a row lacks; only if a row lacks any
SHOWN = 3  # runs that are named in one line


class MissingArtifact(Strict):
    """Artifact that is missing from a study, and why.

    For scores, `figures` holds the rows that scores.json would have, without values.

    Attributes:
        status: whether the job has failed or was not run.
        reason: the cause of the failure, in one line.
        kind: for scores, the kind of their task.
    """

    status: Literal["failed", "not run"]
    reason: str | None = None
    kind: Kind | None = None
    figures: tuple[ScoreRow, ...] = ()


ARTIFACTS = TypeAdapter(dict[str, MissingArtifact])


class Missing:
    """Artifacts that are missing from a study; false if none are.

    Args:
        artifacts: missing artifacts by path, as `qatlab.plan.plan` writes them.
    """

    def __init__(self, artifacts: Mapping[str, MissingArtifact] | None = None) -> None:
        self.artifacts = artifacts or {}

    def __bool__(self) -> bool:
        return bool(self.artifacts)

    def status(self, *paths: str) -> str:
        """Return the status of a result computed from these artifacts: `failed` if one failed, else `not run` if one was not run."""
        return worst(self.artifacts[path].status if path in self.artifacts else OK for path in paths)

    def reason(self, *paths: str) -> str | None:
        """Return the reason of the first of these artifacts that has their common status; None if it has no reason."""
        status = self.status(*paths)
        artifacts = (self.artifacts[path] for path in paths if path in self.artifacts)
        return next((artifact.reason for artifact in artifacts if artifact.status == status), None)

    def figures(self, path: str) -> list[ScoreRow]:
        """Return the rows that scores.json of a missing artifact would have, without values."""
        return list(self.artifacts[path].figures)


WHOLE = Missing()


def read_missing(inputs: Mapping[str, Path]) -> Missing:
    """Read the missing artifacts from the input `missing` of a stage; return WHOLE if the stage has no such input."""
    return Missing(ARTIFACTS.validate_python(read_json(inputs["missing"]))) if "missing" in inputs else WHOLE


def worst(statuses: Iterable[str]) -> str:
    """Return `failed` if it is among the statuses, else `not run` if it is, else `ok`."""
    present = set(statuses)
    return next((status for status in (FAILED, NOT_RUN) if status in present), OK)


def note(statuses: Sequence[str]) -> str:
    """Format the number of seeds that are missing: '1 of 3 seeds failed, 1 not run'; an empty string if none are."""
    counts = {status: list(statuses).count(status) for status in (FAILED, NOT_RUN)}
    parts = [f"{count} {status}" for status, count in counts.items() if count]
    if not parts:
        return ""
    first, *others = parts
    count, status = first.split(" ", 1)
    seeds = f"seed{'s' if len(statuses) > 1 else ''}"
    return ", ".join([f"{count} of {len(statuses)} {seeds} {status}", *others])


def cell(text: str, statuses: Sequence[str]) -> str:
    """Format a mean with the number of seeds that it lacks; return the status alone if all seeds are missing."""
    if OK not in statuses:
        return worst(statuses)
    lacking = note(statuses)
    return f"{text} ({lacking})" if lacking else text


def with_status(table: pd.DataFrame) -> pd.DataFrame:
    """Add the column `status` with `ok` in all rows to a long table that has none."""
    return table if STATUS in table else table.assign(**{STATUS: OK})


def means(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the mean of `value` over each group and its status; a group has no value if one of its rows is missing."""
    grouped = rows.groupby(keys, sort=False, dropna=False)
    groups = grouped["value"].mean().reset_index()
    if rows[STATUS].eq(OK).all():
        return groups.assign(**{STATUS: OK})
    groups[STATUS] = grouped[STATUS].agg(worst).to_numpy()
    return groups.assign(value=groups["value"].where(groups[STATUS] == OK))


def by_seed(table: pd.DataFrame, keys: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Select the rows of seeds that are complete in their group.

    Args:
        table: a long table.
        keys: columns that define the groups, without the seed.

    Returns:
        The selected rows, and a table with the statuses of each group's seeds as a list.
    """
    table = with_status(table)
    of_seed = table.groupby([*keys, "seed"], sort=False, dropna=False)[STATUS].transform(worst)
    seeds = table.assign(**{STATUS: of_seed}).drop_duplicates([*keys, "seed"])
    statuses = seeds.groupby(keys, sort=False, dropna=False)[STATUS].agg(list).reset_index()
    return table[of_seed == OK], statuses


def with_gaps(shown: pd.DataFrame, statuses: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Add the rows of groups without a complete seed to a wide table, and a column with the seeds that other rows lack.

    Args:
        shown: wide table with one row for each group that has a complete seed.
        statuses: statuses of the seeds of all groups, as `by_seed` returns them.
        keys: columns that define the groups.
    """
    if all(set(of_group) == {OK} for of_group in statuses[STATUS]):
        return shown
    values = [column for column in shown.columns if column not in keys]
    table = statuses.merge(shown.astype(object), on=keys, how="left")
    for at, of_group in enumerate(table[STATUS]):
        if OK not in of_group:
            table.loc[at, values] = worst(of_group)
    return table[[*shown.columns]].assign(**{NOTE: [note(of_group) for of_group in table[STATUS]]})


def run_paths(run: RunRecord) -> list[str]:
    """Return the paths of all artifacts that the results of a run are computed from, without comparisons with other runs."""
    entries = [
        path
        for e in run.evaluations
        for path in (e.encode, e.training, e.score, *e.drift.values(), *e.engines.values())
        if path
    ]
    parts = [path for part in run.parts for path in (part.deployed, part.encode, *part.scores)]
    return list(dict.fromkeys([run.trained, *run.deployed.values(), *entries, *parts]))


def lacking_runs(runs: Sequence[RunRecord], missing: Missing) -> set[str]:
    """Return the names of the runs that lack an artifact of their own."""
    return {run.name for run in runs if missing.status(*run_paths(run)) != OK}


def own_bit_changes(entry: Evaluation, lacking: Collection[str]) -> list[str]:
    """Return the paths of an evaluation's comparisons of bits, except with runs that lack an artifact of their own."""
    return [path for other, path in entry.bit_changes.items() if other not in lacking]


def incomplete_runs(runs: Sequence[RunRecord], missing: Missing) -> list[IncompleteRun]:
    """Return the runs that lack an artifact, in the study's order."""
    incomplete, lacking = [], lacking_runs(runs, missing)
    for run in runs:
        paths = [*run_paths(run), *(path for e in run.evaluations for path in own_bit_changes(e, lacking))]
        if (status := missing.status(*paths)) != OK:
            incomplete.append(IncompleteRun(run=run.name, status=status, failure=missing.reason(*paths)))
    return incomplete


def in_words(incomplete: Sequence[IncompleteRun]) -> str:
    """Format incomplete runs in one line: 'failed: a, b, c and 2 more; not run: d'."""
    parts = []
    for status in (FAILED, NOT_RUN):
        names = [run.run for run in incomplete if run.status == status]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        if names:
            parts.append(f"{status}: {', '.join(names[:SHOWN])}{more}")
    return "; ".join(parts)


def nothing_like(values: np.ndarray | None) -> np.ndarray:
    """Return NaN in the shape of another run's values, (n,); a single NaN if no run has values."""
    return np.full(1 if values is None else len(values), np.nan)


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
