"""What a study's tables lack, as its runs have failed or were not run: said in the cell, never blank, never a mean over fewer.

A study that went through lacks nothing, and every function here leaves its tables as they are.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from qatlab.artifact import read_json
from qatlab.base import Strict
from qatlab.config.kind import Kind
from qatlab.evaluation.scores_file import ScoreRow
from qatlab.study.record import Evaluation, IncompleteRun, RunRecord

OK: Final = "ok"
FAILED: Final = "failed"
NOT_RUN: Final = "not run"
STATUS = "status"
NOTE = "missing"  # the column of wide tables that says how many seeds a row lacks; only where one does
SHOWN = 3  # runs that are named in a line


class MissingArtifact(Strict):
    """An artifact that a study should have and does not have.

    Attributes:
        status: failed, or not run.
        reason: why it failed, in one line.
        kind: of scores, that of their task.
        figures: of scores, the rows of scores.json that they would have, without values.
    """

    status: Literal["failed", "not run"]
    reason: str | None = None
    kind: Kind | None = None
    figures: tuple[ScoreRow, ...] = ()


ARTIFACTS = TypeAdapter(dict[str, MissingArtifact])


class Missing:
    """The artifacts that a study should have and does not have.

    Args:
        artifacts: by path; what `qatlab.plan.unfinished` writes.
    """

    def __init__(self, artifacts: Mapping[str, MissingArtifact] | None = None) -> None:
        self.artifacts = artifacts or {}

    def __bool__(self) -> bool:
        return bool(self.artifacts)

    def status(self, *paths: str) -> str:
        """Of what is made from all these: failed if one has failed, or else not run if one was not run."""
        return worst(self.artifacts[path].status if path in self.artifacts else OK for path in paths)

    def reason(self, *paths: str) -> str | None:
        """The first cause of that status."""
        status = self.status(*paths)
        found = (self.artifacts[path] for path in paths if path in self.artifacts)
        return next((artifact.reason for artifact in found if artifact.status == status), None)

    def figures(self, path: str) -> list[ScoreRow]:
        """Return rows of scores.json without their values."""
        return list(self.artifacts[path].figures)


WHOLE = Missing()


def read_missing(inputs: Mapping[str, Path]) -> Missing:
    """Of a stage's inputs: nothing is missing where no file says so."""
    return Missing(ARTIFACTS.validate_python(read_json(inputs["missing"]))) if "missing" in inputs else WHOLE


def worst(statuses: Iterable[str]) -> str:
    """Failed, or else not run, or else ok."""
    found = set(statuses)
    return next((status for status in (FAILED, NOT_RUN) if status in found), OK)


def note(statuses: Sequence[str]) -> str:
    """'1 of 3 seeds failed', '1 of 3 seeds failed, 1 not run'; nothing where all are there."""
    counts = {status: list(statuses).count(status) for status in (FAILED, NOT_RUN)}
    parts = [f"{count} {status}" for status, count in counts.items() if count]
    if not parts:
        return ""
    first, *others = parts
    count, status = first.split(" ", 1)
    seeds = f"seed{'s' if len(statuses) > 1 else ''}"
    return ", ".join([f"{count} of {len(statuses)} {seeds} {status}", *others])


def cell(text: str, statuses: Sequence[str]) -> str:
    """A figure with what its mean lacks; the status alone where there is nothing to take a mean of."""
    if OK not in statuses:
        return worst(statuses)
    said = note(statuses)
    return f"{text} ({said})" if said else text


def with_status(table: pd.DataFrame) -> pd.DataFrame:
    """A long table whose rows say whether their figures are there."""
    return table if STATUS in table else table.assign(**{STATUS: OK})


def means(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The mean of `value` over each group, which has none where one of its rows has none."""
    grouped = rows.groupby(keys, sort=False, dropna=False)
    found = grouped["value"].mean().reset_index()
    if rows[STATUS].eq(OK).all():
        return found.assign(**{STATUS: OK})
    found[STATUS] = grouped[STATUS].agg(worst).to_numpy()
    return found.assign(value=found["value"].where(found[STATUS] == OK))


def by_seed(table: pd.DataFrame, keys: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A long table's rows of seeds that have all of theirs in a group, and the statuses of each group's seeds, as lists.

    Args:
        keys: of the groups, the seed not among them.
    """
    table = with_status(table)
    of_seed = table.groupby([*keys, "seed"], sort=False, dropna=False)[STATUS].transform(worst)
    seeds = table.assign(**{STATUS: of_seed}).drop_duplicates([*keys, "seed"])
    statuses = seeds.groupby(keys, sort=False, dropna=False)[STATUS].agg(list).reset_index()
    return table[of_seed == OK], statuses


def with_gaps(shown: pd.DataFrame, statuses: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A wide table with the rows that it lacks, and a column for what others lack.

    Args:
        shown: a row for each group that has a seed.
        statuses: of all groups, by `by_seed`.
        keys: of the groups.
    """
    if all(set(of_group) == {OK} for of_group in statuses[STATUS]):
        return shown
    figures = [column for column in shown.columns if column not in keys]
    table = statuses.merge(shown.astype(object), on=keys, how="left")
    for at, of_group in enumerate(table[STATUS]):
        if OK not in of_group:
            table.loc[at, figures] = worst(of_group)
    return table[[*shown.columns]].assign(**{NOTE: [note(of_group) for of_group in table[STATUS]]})


def run_paths(run: RunRecord) -> list[str]:
    """Every artifact that a run's own figures are made from; `run` as the study describes it."""
    entries = [path for e in run.evaluations for path in (e.encode, e.training, e.score, *e.drift.values()) if path]
    parts = [path for part in run.parts for path in (part.deployed, part.encode, *part.scores)]
    return list(dict.fromkeys([run.trained, *run.deployed.values(), *entries, *parts]))


def lacking_runs(runs: Sequence[RunRecord], missing: Missing) -> set[str]:
    """The names of the runs that lack something of their own."""
    return {run.name for run in runs if missing.status(*run_paths(run)) != OK}


def own_bit_changes(entry: Evaluation, lacking: Collection[str]) -> list[str]:
    """The comparisons of bits in an evaluation, without those that are missing because the other run lacks something."""
    return [path for other, path in entry.bit_changes.items() if other not in lacking]


def incomplete_runs(runs: Sequence[RunRecord], missing: Missing) -> list[IncompleteRun]:
    """Return the runs that lack something, in the study's order."""
    incomplete, lacking = [], lacking_runs(runs, missing)
    for run in runs:
        paths = [*run_paths(run), *(path for e in run.evaluations for path in own_bit_changes(e, lacking))]
        if (status := missing.status(*paths)) != OK:
            incomplete.append(IncompleteRun(run=run.name, status=status, failure=missing.reason(*paths)))
    return incomplete


def in_words(incomplete: Sequence[IncompleteRun]) -> str:
    """'failed: a, b, c and 2 more; not run: d'."""
    parts = []
    for status in (FAILED, NOT_RUN):
        names = [run.run for run in incomplete if run.status == status]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        if names:
            parts.append(f"{status}: {', '.join(names[:SHOWN])}{more}")
    return "; ".join(parts)


def nothing_like(values: np.ndarray | None) -> np.ndarray:
    """NaN for each of the values that another run has there; a single one where none has any."""
    return np.full(1 if values is None else len(values), np.nan)
