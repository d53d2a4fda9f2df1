"""Tables of what quantization costs, component by component, and of whether the deployed grid is the trained one."""

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
from qatlab.tables.gathered import BySeed, Figures, paired, statuses
from qatlab.tables.missing import KERNEL, OK, STATUS, WHOLE, KernelsSeen, Missing, by_seed, cell, kernel_note, worst
from qatlab.tables.names import TOTAL, is_simulation, metric_label
from qatlab.tables.table import TABLES, Table, drift_references
from qatlab.tables.wide import row_keys

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


class Level(NamedTuple):
    """Level of a chain: a model in a deployment, quantized up to and including one component."""

    method: str
    varied: tuple[Any, ...]  # what else the matrix varies, in the order of its keys
    deploy: str
    kernel: str  # integer kernel that ran the shipped file, or ""
    component: str
    output: str  # name in the columns of per_query.parquet


class Chain(NamedTuple):
    """Levels from the float model to embeddings that are stored at one precision, in order."""

    precision: str
    levels: list[Level]


def decomposition(query_scores: Mapping[Level, BySeed], chains: list[Chain], varied: list[str]) -> pd.DataFrame:
    """Build a table with one row per chain and component: the level after it, and its difference from the one before.

    The last row of a chain is the total. Differences are those of the rounded levels, so that they add up to the total digit by
    digit. Intervals, p-values and verdicts are computed from the unrounded scores; a difference that several chains share counts
    once in the correction. A level that lacks a seed has no value, because a mean over the others would not add up.

    Args:
        query_scores: one metric for each query; all levels of a chain have the same seeds and tasks.
        chains: the chains to show, in the order of the rows.
        varied: columns of the matrix besides method and seed.
    """
    complete = [chain for chain in chains if paired(query_scores[chain.levels[-1]], query_scores[chain.levels[0]])]
    pairs = list(dict.fromkeys(pair for chain in complete for pair in _pairs(chain)))
    cells = dict(zip(pairs, judged(query_scores, pairs).to_dict("records"), strict=True))
    table = pd.DataFrame([row for chain in complete for row in _rows(chain, query_scores, cells, varied)])
    one_kernel = len({level.kernel for level in query_scores} - {""}) < 2
    return table.drop(columns=KERNEL, errors="ignore") if one_kernel else table


def _pairs(chain: Chain) -> list[tuple[Level, Level]]:
    """Return each level with the one before it, and as the last pair the last and the first level."""
    return [(after, before) for before, after in pairwise(chain.levels)] + [(chain.levels[-1], chain.levels[0])]


def _rows(
    chain: Chain,
    query_scores: Mapping[Level, BySeed],
    cells: dict[tuple[Level, Level], dict[Any, Any]],
    varied: list[str],
) -> list[dict[str, object]]:
    first = chain.levels[0]
    lacks = {level: worst(statuses(query_scores, level)) for level in chain.levels}
    shown = {level: Decimal(f"{_mean(query_scores[level]):.4f}") for level in chain.levels if lacks[level] == OK}
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


def _mean(by_seed: BySeed) -> float:
    """Return the mean over the tasks that every seed has, of the mean over seeds and queries, as differences use it."""
    seeds = list(by_seed.values())
    tasks = [task for task in seeds[0] if all(task in other for other in seeds)]
    return float(np.mean([np.stack([by_task[task] for by_task in seeds]).mean() for task in tasks]))


def read_chains(
    runs: Sequence[RunRecord], results: Path, metric: str, missing: Missing = WHOLE
) -> tuple[Figures, list[Chain]]:
    """Read the scores of each query at every level, and the chains of these levels.

    Args:
        runs: the study's runs.
        results: the folder of artifacts.
        metric: the metric that the chains were scored by.
        missing: artifacts that are missing; their scores are NaN.
    """
    query_scores, seen = Figures(), KernelsSeen(runs, results, missing, parts=True)
    chains: dict[tuple[Any, ...], Chain] = {}
    for run in runs:
        kernels = {(part.deploy, part.task): seen.of(run, part) or "" for part in run.parts}
        for chain in run.chains:
            for step in chain.steps:
                for task, path in step.scores.items():
                    place = (run.method, run.cell, chain.deploy, kernels[chain.deploy, task])
                    level = Level(*place, step.component, step.output)
                    if (status := missing.status(path)) == OK:
                        query_scores.put(level, run.seed, task, _column(results / path, f"{step.output}/{metric}"))
                    else:
                        query_scores.put_gap(level, run.seed, task, status)
                    levels = chains.setdefault((*place, chain.precision), Chain(chain.precision, [])).levels
                    if level not in levels:
                        levels.append(level)
    query_scores.close()
    return query_scores, list(chains.values())


def _column(folder: Path, name: str) -> np.ndarray:
    values: np.ndarray = pq.read_table(folder / "per_query.parquet", columns=[name])[name].to_numpy()
    return values


@TABLES.register("decomposition")
class Decomposition(Table):
    """Table of what quantization costs, component by component."""

    place = 110
    caption = """\
Loss of quality by component, from the float model to the shipped deployment. Each row is the same trained model with one component
more than the row above: weights on the grid of the deployment; activations too, as training for it would see them; the shipped
file, with its own arithmetic; its embeddings rounded, with ranges fitted on the corpus; ranges fitted on queries and documents
separately; codes compared directly, as in published evaluations. Differences are between the levels as shown, so they add up to
the total exactly. Intervals are computed by a bootstrap over queries and seeds, p-values by a permutation test over queries,
corrected for all rows of the table (Holm). A deployment without a simulation has its weights, activations and export in one row.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether an entry of `study.decomposition` applies to a run of the study."""
        return any(run.chains for run in study.runs)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        metric = metric_label(gathered.study.primary_metric)
        subject = "the way from the float model to what is shipped, by component"
        return f"{metric}, mean of the retrieval tasks: {subject} ({gathered.judged})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        metric = gathered.study.primary_metric
        return decomposition(*read_chains(gathered.runs, gathered.results, metric, gathered.missing), gathered.varied)


SAME_GRID = 0.9995  # minimum cosine similarity of a text's embeddings under two implementations of one grid


def parity(drift: pd.DataFrame, runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row per scheme and method, with one column per deployment: minimum (and mean) cosine similarity over all texts.

    Args:
        drift: drift.csv; only comparisons with forward passes of training are used.
        runs: the study's runs, which have the scheme of each.
    """
    schemes = {run.name: run.scheme for run in runs}
    chosen = drift[[is_simulation(reference) for reference in drift["reference"]]]
    chosen = chosen.assign(scheme=chosen["run"].map(schemes))
    keys = ["scheme", *row_keys(chosen)]
    complete, statuses = by_seed(chosen, [*keys, "deploy"])
    grouped = complete.groupby([*keys, "deploy"], sort=False, dropna=False).agg(
        least=("min", "min"), mean=("mean", "mean")
    )
    similarities = {key: f"{row['least']:.6f} ({row['mean']:.6f})" for key, row in grouped.iterrows()}
    cell_statuses = statuses.set_index([*keys, "deploy"])[STATUS]
    cells = pd.Series(
        [cell(similarities.get(key, ""), group) for key, group in cell_statuses.items()], index=cell_statuses.index
    )
    order = list(dict.fromkeys(chosen["deploy"]))
    return cells.unstack("deploy")[order].reset_index().rename_axis(columns=None)


@TABLES.register("parity")
class Parity(Table):
    """Table of whether the grid trained for is the grid shipped."""

    place = 130
    caption = """\
Whether the grid trained for is the grid shipped: each deployment's embeddings against the fake-quantized forward pass of
training. Minimum cosine similarity over all texts of the tasks (mean in brackets). At .9995 or more the two grids are the same. A
lower value means another grid, or the same grid with different rounding decisions: where activations are quantized per tensor, a
difference in a value's last digit can move it into the next cell, which changes the values computed from it.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a deployment is compared with a forward pass of training."""
        return any(map(is_simulation, drift_references(study)))

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        similarity = "Least (mean) cosine similarity of a text to the fake-quantized forward pass of training"
        return f"{similarity}; at {SAME_GRID:g} or more the grids are one{kernel_note(gathered.drift)}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return parity(gathered.drift, gathered.runs)
