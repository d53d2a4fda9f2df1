"""What quantization costs, component by component: from the float model to what is shipped, in steps that add up."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.differences import DIFFERENCE, judged
from qatlab.tables.machines import KERNEL, KernelsSeen
from qatlab.tables.missing import OK, WHOLE, Missing, worst
from qatlab.tables.names import TOTAL, metric_label
from qatlab.tables.per_query import BySeed, Figures, paired, statuses
from qatlab.tables.table import TABLES, Table

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


class Level(NamedTuple):
    """What one figure of a chain is of: a model, shipped so, as far as one component and those before it go."""

    method: str
    varied: tuple[Any, ...]  # what else the matrix varies, in the order of its keys
    deploy: str
    kernel: str  # what the shipped file's integers were multiplied with, or ""
    component: str
    output: str  # as columns of per_query.parquet name it


class Chain(NamedTuple):
    """The levels from the float model to embeddings that are stored at one precision, in order."""

    precision: str
    levels: list[Level]


def decomposition(figures: Mapping[Level, BySeed], chains: list[Chain], varied: list[str]) -> pd.DataFrame:
    """A row per chain and component: the level after it, and its difference from the one before; the total is the last row.

    Differences are shown as those of the rounded levels, so that they add up to the total digit by digit. Intervals,
    p-values and verdicts are of the figures themselves; a difference that several chains share is weighed once. A level that lacks
    a seed has no value: a mean over the others would not add up.

    Args:
        figures: of one metric; of each chain's levels for the same seeds and tasks.
        varied: what else the matrix varies, as columns.
    """
    whole = [chain for chain in chains if paired(figures[chain.levels[-1]], figures[chain.levels[0]])]
    pairs = list(dict.fromkeys(pair for chain in whole for pair in _pairs(chain)))
    cells = dict(zip(pairs, judged(figures, pairs).to_dict("records"), strict=True))
    table = pd.DataFrame([row for chain in whole for row in _rows(chain, figures, cells, varied)])
    one_kernel = len({level.kernel for level in figures} - {""}) < 2
    return table.drop(columns=KERNEL, errors="ignore") if one_kernel else table


def _pairs(chain: Chain) -> list[tuple[Level, Level]]:
    """Each level and the one before it; at the end the last and the first."""
    return [(after, before) for before, after in pairwise(chain.levels)] + [(chain.levels[-1], chain.levels[0])]


def _rows(
    chain: Chain, figures: Mapping[Level, BySeed], cells: dict[tuple[Level, Level], dict[Any, Any]], varied: list[str]
) -> list[dict[str, object]]:
    first = chain.levels[0]
    lacks = {level: worst(statuses(figures, level)) for level in chain.levels}
    shown = {level: Decimal(f"{_mean(figures[level]):.4f}") for level in chain.levels if lacks[level] == OK}
    labels = {
        "method": first.method,
        **dict(zip(varied, first.varied, strict=True)),
        "deploy": first.deploy,
        KERNEL: first.kernel,
        "output precision": chain.precision,
    }
    rows = [{**labels, "component": first.component, "value": str(shown.get(first, lacks[first]))}]
    for component, (after, before) in zip([*_components(chain), TOTAL], _pairs(chain), strict=True):
        row = {**labels, "component": component, "value": str(shown.get(after, lacks[after])), **cells[after, before]}
        if after in shown and before in shown:
            row[DIFFERENCE] = f"{shown[after] - shown[before]:+}"
        rows.append(row)
    return rows


def _components(chain: Chain) -> list[str]:
    return [level.component for level in chain.levels[1:]]


def _mean(figures: BySeed) -> float:
    """Over the tasks that every seed has, of the mean over seeds and queries: what differences are taken of."""
    of_seeds = list(figures.values())
    tasks = [task for task in of_seeds[0] if all(task in other for other in of_seeds)]
    return float(np.mean([np.stack([of_seed[task] for of_seed in of_seeds]).mean() for task in tasks]))


def read_chains(
    runs: Sequence[RunRecord], results: Path, metric: str, missing: Missing = WHOLE
) -> tuple[Figures, list[Chain]]:
    """Each query's figure at every level, and the chains.

    Args:
        runs: the study's runs.
        metric: the one that the chains were scored by.
        missing: what is not there.
    """
    figures, seen = Figures(), KernelsSeen(runs, results, missing, parts=True)
    chains: dict[tuple[Any, ...], Chain] = {}
    for run in runs:
        kernels = {(part.deploy, part.task): seen.of(run, part) or "" for part in run.parts}
        for chain in run.chains:
            for step in chain.steps:
                for task, path in step.scores.items():
                    of = (run.method, run.cell, chain.deploy, kernels[chain.deploy, task])
                    level = Level(*of, step.component, step.output)
                    if (status := missing.status(path)) == OK:
                        figures.put(level, run.seed, task, _column(results / path, f"{step.output}/{metric}"))
                    else:
                        figures.put_gap(level, run.seed, task, status)
                    levels = chains.setdefault((*of, chain.precision), Chain(chain.precision, [])).levels
                    if level not in levels:
                        levels.append(level)
    figures.close()
    return figures, list(chains.values())


def _column(folder: Path, name: str) -> np.ndarray:
    values: np.ndarray = pq.read_table(folder / "per_query.parquet", columns=[name])[name].to_numpy()
    return values


@TABLES.register("decomposition")
class Decomposition(Table):
    """Table of what quantization costs, component by component."""

    place = 110
    caption = """\
Where a model loses what it loses on its way from float to what is shipped. Each row is the same trained model with one component
more than the row above: weights on the grid of the deployment; activations too, as training for it would see them; the shipped
file, with its own arithmetic; its embeddings rounded, ranges fitted on the corpus; ranges fitted on queries and documents each by
themselves; codes compared as they are, as published evaluations do. Differences are between the levels as shown, so they add up to
the total exactly. Intervals are by a bootstrap over queries and seeds, p-values by a permutation test over queries, corrected for
all rows of the table (Holm). A deployment that nothing here simulates has its weights, activations and export in one row.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
        return any(run.chains for run in study.runs)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        metric = metric_label(gathered.study.primary_metric)
        way = "the way from the float model to what is shipped, by component"
        return f"{metric}, mean of the retrieval tasks: {way} ({gathered.judged})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        metric = gathered.study.primary_metric
        return decomposition(*read_chains(gathered.runs, gathered.results, metric, gathered.missing), gathered.varied)
