"""Share of bits that training for bits changes against the baseline, beside the share that another seed changes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from qatlab.artifact import read_json
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.missing import FAILED, NOT_RUN, OK, WHOLE, Missing, cell, worst
from qatlab.tables.table import TABLES, Table

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


CHANGED, BETWEEN_SEEDS = "bits changed (%)", "two seeds of the baseline (%)"


class Comparison(NamedTuple):
    """Comparison of the bits of two runs on one task."""

    method: str
    varied: tuple[Any, ...]  # what else the matrix varies, in the order of its keys
    seed: int | None
    reference: str  # the name of the baseline's run
    share: float  # share of the documents' bits that differ; NaN if it is missing
    status: str


def bits_changed(runs: Sequence[RunRecord], results: Path, baseline: str, missing: Missing = WHOLE) -> pd.DataFrame:
    """Build a table with one row per method and cell of the matrix: the share of the corpus's bits that differ from the baseline's.

    Shares are means over tasks and seeds, with the standard deviation over seeds. The seeds of the baseline are compared with
    one another in pairs, and the mean over pairs is shown. Cells of a method without a comparison, because its axes differ, are
    empty.

    Args:
        runs: the study's runs.
        results: the folder of artifacts.
        baseline: the study's baseline method.
        missing: artifacts that are missing; seeds that lack a task are left out, and counted.
    """
    compared = list(_comparisons(runs, results, missing))
    rows = {}
    for run in runs:
        method, varied = run.method, run.cell
        if run.seed is not None and method != baseline:
            own = [one for one in compared if (one.method, one.varied) == (method, varied)]
            pairs = [one for one in compared if (one.method, one.varied) == (baseline, varied)]
            shares = {CHANGED: _over_seeds(own), BETWEEN_SEEDS: _over_pairs(pairs)}
            rows[method, varied] = {"method": method, **run.varied, **shares}
    return pd.DataFrame(list(rows.values()))


def compared_deployment(runs: Sequence[RunRecord]) -> str:
    """Return the deployment whose bits are compared; an empty string if none are."""
    entries = (entry for run in runs for entry in run.evaluations if entry.bit_changes)
    return next((entry.deploy for entry in entries), "")


def _comparisons(runs: Sequence[RunRecord], results: Path, missing: Missing) -> Iterable[Comparison]:
    for run in runs:
        for entry in run.evaluations:
            for reference, path in entry.bit_changes.items():
                status = missing.status(path)
                share = read_json(results / path / "bit_changes.json")["documents"] if status == OK else np.nan
                yield Comparison(run.method, run.cell, run.seed, reference, share, status)


def _over_seeds(compared: list[Comparison]) -> str | None:
    """Format the mean and the standard deviation over seeds in percent: '1.23 ± 0.10'."""
    if not compared:
        return None
    seeds = list(dict.fromkeys(one.seed for one in compared))
    by_seed = [[one for one in compared if one.seed == seed] for seed in seeds]
    shares = [np.mean([one.share for one in of_seed]) for of_seed in by_seed]
    percentages = [100 * share for share in shares if not np.isnan(share)]
    deviation = f" ± {np.std(percentages, ddof=1):.2f}" if len(percentages) > 1 else ""
    text = f"{np.mean(percentages):.2f}{deviation}" if percentages else ""
    return cell(text, [worst(one.status for one in of_seed) for of_seed in by_seed])


def _over_pairs(compared: list[Comparison]) -> str | None:
    """Format the mean over pairs of seeds in percent, such as '0.87', and the number of pairs that are missing."""
    if not compared:
        return None
    names = list(dict.fromkeys((one.seed, one.reference) for one in compared))
    by_pair = [[one for one in compared if (one.seed, one.reference) == name] for name in names]
    statuses = [worst(one.status for one in of_pair) for of_pair in by_pair]
    if OK not in statuses:
        return worst(statuses)
    shares = [np.mean([one.share for one in of_pair]) for of_pair in by_pair]
    counts = [
        f"{statuses.count(status)} of {len(statuses)} pairs {status}"
        for status in (FAILED, NOT_RUN)
        if status in statuses
    ]
    return f"{100 * np.nanmean(shares):.2f}" + (f" ({', '.join(counts)})" if counts else "")


@TABLES.register("bits_changed")
class BitsChanged(Table):
    """Table of how many bits training changes."""

    place = 100
    caption = """\
The effect of training for bits on the bits themselves: the share of the corpus's bits (signs of the documents' embeddings) in which
a method's model differs from the baseline's of the same seed, mean of the tasks and seeds, ± standard deviation over seeds. The next
column is the share in which two seeds of the baseline differ: a method that changes no more bits than another seed does has not
trained for them. Methods that append a rotation have bits of other axes, which cannot be compared.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has results for this table."""
        return any(entry.bit_changes for run in study.runs if run.method != study.baseline for entry in run.evaluations)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        deploy = compared_deployment(gathered.runs)
        subject = f"Share of the corpus's bits that differ from {gathered.baseline}'s of the same seed, in {deploy}"
        return f"{subject} ({gathered.over})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        return bits_changed(gathered.runs, gathered.results, gathered.baseline, gathered.missing)
