"""Trade-off of quality, bytes per document and search speed: its Pareto frontier, and the choice of what to ship within a bound.

The table `pareto` has all outputs of a study that are best at their size. For the recommendation, every variant that can be deployed
is compared with the best float result, paired by query and seed. The intervals of all comparisons cover at once
(`statistics.simultaneous_intervals`), because the rule chooses the smallest variant by their upper ends. The best float result is
the best of all methods', so losses are rather too large than too small.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qatlab.config.evaluate import COMPAT
from qatlab.evaluation.outputs import FITTED_ON, OutputColumns, outputs
from qatlab.evaluation.task import SEARCHED
from qatlab.quantization.precisions import RANGED
from qatlab.statistics import simultaneous_intervals
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.differences import is_float
from qatlab.tables.gathered import BySeed, Form, paired, seed_means
from qatlab.tables.labels import precision_labels
from qatlab.tables.long import without_engines
from qatlab.tables.missing import OK, STATUS, with_status, worst
from qatlab.tables.names import metric_label
from qatlab.tables.table import TABLES, Table
from qatlab.tables.wide import row_keys

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered

SAME_SPEED = 0.8  # at this share of another's speed or more, an output counts as equally fast: timings are noisy
OUTPUT = ["rotation", "output"]
FITTED = "fitted on"  # column of wide tables


def points(scores: pd.DataFrame, search: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one row per method, deployment, rotation and output.

    Args:
        scores: scores.csv. Rows that reproduce how other libraries score are left out: they are not a deployable output.
        search: search.csv, with the bytes per document and the speed of each output.
        metric: name of the metric whose mean over tasks, of means over seeds, is a point's value.

    Returns:
        The columns that name a point, and
        value: the metric;
        bytes: the bytes stored per document;
        queries_per_second: the median over tasks and runs, because the cost of a query does not depend on the embeddings' values;
        depth: the number of documents that rescoring compares in its first step, or 0 without rescoring;
        fitted_on: what the output's axes were fitted on;
        best: whether no other method of the deployment scores better at this output in as many bytes;
        on_line: whether no best point of the deployment that was fitted on the same or on less is smaller and better;
        on_frontier: whether none of these points is smaller, better and faster.

        Points that lack a seed or a task are left out, because their means are not comparable with the others'.
    """
    keys = [*row_keys(scores), "deploy", *OUTPUT]
    scores, search = with_status(scores), with_status(without_engines(search))
    chosen = scores[(scores["metric"] == metric) & ~scores["scoring"].isin(COMPAT)].assign(output=precision_labels)
    tasks = chosen.groupby(keys, sort=False, dropna=False)["task"].transform("nunique")
    chosen = chosen[tasks == chosen["task"].nunique()]  # a corpus may have too few documents for some axes
    if chosen[STATUS].ne(OK).any():
        complete = chosen.groupby(keys, sort=False, dropna=False)[STATUS].transform(worst) == OK
        chosen, search = chosen[complete], search[search[STATUS] == OK].astype({"stored_bytes": int})
    task_means = chosen.groupby([*keys, "task"], sort=False, dropna=False)["value"].mean()
    values = task_means.groupby(keys, sort=False, dropna=False).mean().reset_index()
    search = search.assign(output=precision_labels).rename(columns={"stored_bytes": "bytes"})
    table = values.merge(search[[*keys, "bytes"]].drop_duplicates(keys), on=keys, how="left")
    speed = search.groupby([*OUTPUT, "bytes"], sort=False)["queries_per_second"].median().reset_index()
    table = table.merge(speed, on=[*OUTPUT, "bytes"], how="left")
    depths = chosen.assign(depth=chosen["rescoring"].str.extract(r"of (\d+)", expand=False).astype(float).fillna(0))
    output_properties = depths.drop_duplicates(OUTPUT)[[*OUTPUT, "depth", "doc_precision", "fitted_on"]]
    table = table.merge(output_properties, on=OUTPUT, how="left")
    leading = table.groupby(["deploy", *OUTPUT, "bytes"], sort=False)["value"].idxmax()
    table["best"] = table.index.isin(leading)
    for name, faster in (("on_line", False), ("on_frontier", True)):
        table[name] = False
        for _, rows in table[table["best"]].groupby("deploy", sort=False):
            table.loc[rows.index, name] = unbeaten(rows, faster)
    return table


def pareto(scores: pd.DataFrame, search: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the best point of each deployment and output, by descending bytes; without timings, so that it is identical between runs."""
    table = points(scores, search, metric)
    keys = [*row_keys(scores), "deploy", *OUTPUT, "fitted_on"]
    table = table[table["best"]].assign(order=lambda rows: pd.factorize(rows["deploy"])[0])
    table = table.sort_values(["order", "bytes", "value"], ascending=[True, False, False], kind="stable")
    planned = scores[(scores["metric"] == metric) & ~scores["scoring"].isin(COMPAT)]
    constant_columns = [name for name in ("rotation", "fitted_on") if planned[name].eq("none").all()]
    shown = table[keys].drop(columns=constant_columns)
    shown = shown.rename(columns={"output": "output precision", "fitted_on": FITTED}).assign(
        **{
            "bytes per document": table["bytes"].map("{:,.0f}".format),
            metric_label(metric): table["value"].map("{:.4f}".format),
            "frontier": table["on_line"].map({True: "yes", False: ""}),
        }
    )
    return pd.concat([shown, _without_any(scores, shown, metric)], ignore_index=True)


def _without_any(scores: pd.DataFrame, shown: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return rows for the outputs that no method has complete results for, filled with their status."""
    rows = with_status(scores)
    rows = rows[(rows["metric"] == metric) & ~rows["scoring"].isin(COMPAT) & (rows[STATUS] != OK)]
    rows = rows.assign(**{"output precision": precision_labels}).rename(columns={"fitted_on": FITTED})
    keys = [column for column in ("deploy", "rotation", "output precision", FITTED) if column in shown]
    shown_keys = set(shown[keys].itertuples(index=False, name=None))
    statuses = rows.groupby(keys, sort=False)[STATUS].agg(worst).reset_index()
    absent = statuses[[row not in shown_keys for row in statuses[keys].itertuples(index=False, name=None)]]
    return pd.DataFrame(
        [
            dict.fromkeys(shown.columns, row[STATUS]) | {key: row[key] for key in keys}
            for row in absent.to_dict("records")
        ]
    )


def unbeaten(rows: pd.DataFrame, by_speed: bool) -> np.ndarray:
    """Return, as booleans of shape (n,), which rows no other row beats.

    A row beats another one if it was fitted on the same or on less, is as good in every respect, and is better in one. An output fitted
    on the searched documents never beats one that was not: the two are not available under the same conditions. Speed counts only
    with `by_speed`.
    """
    size, value = rows["bytes"].to_numpy(), rows["value"].to_numpy()
    fitted = rows["fitted_on"].map(FITTED_ON.index).to_numpy()
    as_good = (size[:, None] <= size) & (value[:, None] >= value) & (fitted[:, None] <= fitted)
    better = (size[:, None] < size) | (value[:, None] > value)
    if by_speed:
        speed = rows["queries_per_second"].to_numpy()
        as_good &= speed[:, None] >= SAME_SPEED * speed
        better |= SAME_SPEED * speed[:, None] > speed
    return np.logical_not((as_good & better).any(axis=0))


def stored_otherwise(study: StudyRecord) -> bool:
    """Return whether embeddings are searched at more than one output."""
    evaluate = study.evaluate
    if evaluate is None or not set(SEARCHED) & set(study.kinds.values()):
        return False
    return len([output for output in outputs(evaluate) if output.scoring not in COMPAT]) > 1


@TABLES.register("pareto")
class Pareto(Table):
    """Table of the best score of each output, by bytes per document."""

    place = 60
    caption = """\
Scores by bytes per document: for each deployment and output, the method that scores best (mean of tasks and seeds). Bytes count
everything that is stored per document, including copies for rescoring. The frontier consists of the outputs that no other output of the
same deployment beats: in the table and along the plot's line, by being smaller and better; among the plot's numbered points, by being
smaller, better and faster (a fifth faster or slower counts as equal). An output that was fitted on the searched corpus, or on training
documents, beats only outputs that were fitted on as much or more; the plot has one line for each. Queries per second are medians over
tasks and runs, from ``tables/search.csv``: exhaustive search of all queries at once, including rescoring, with documents already
prepared for comparison. They depend on the machine.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study searches embeddings at more than one output."""
        return stored_otherwise(study)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        metric = metric_label(gathered.study.primary_metric)
        best = "each output with the method that scores best"
        fitted = FITTED in self.rows(gathered)
        rule = "; none is beaten by what was fitted on more of what is searched" if fitted else ""
        return f"{metric} by bytes per document, copies for rescoring included: {best}{rule}{gathered.kernel_note}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return pareto(gathered.scores, gathered.search, gathered.study.primary_metric)


# Models of at most this multiple of another's bytes count as equally large, because their settings differ in length.
SAME_SIZE = 1.01


@dataclass(frozen=True)
class Variant:
    """One variant that can be shipped, with what it costs.

    Attributes:
        differences: by task, its results less those of the best float result, (seeds, queries) float64.
        value: mean over tasks and seeds of the main metric.
        doc_bytes: bytes per document, with copies for rescoring; 0 for a causal language model.
        model_bytes: median over seeds; None where unknown.
        texts_per_second: median over the runs of all methods in this deployment, because weights of other values are as fast, and a
            single measurement is noisy; None where unknown.
        loss, low, high: how much worse than the best float result, and the ends of its simultaneous interval, which may be NaN.
    """

    form: Form
    differences: list[np.ndarray]
    value: float
    doc_bytes: int
    model_bytes: int | None
    texts_per_second: float | None
    loss: float = 0.0
    low: float = 0.0
    high: float = 0.0


def choose(variants: Sequence[Variant], most: float, lower_is_better: bool = False) -> Variant | None:
    """Return the variant with the fewest bytes among those that lose at most `most` at the upper end of their interval.

    Of equally many bytes per document, the smallest model counts (sizes within SAME_SIZE are equal), then the fastest (speeds from
    SAME_SPEED on are equal), then the best result, then the first of the list.

    Args:
        variants: the variants.
        most: largest loss, in units of the metric.
        lower_is_better: whether lower values of the metric are better.
    """
    within = [variant for variant in variants if variant.high <= most]  # NaN is within no bound
    if not within:
        return None
    fewest = min(variant.doc_bytes for variant in within)
    within = [variant for variant in within if variant.doc_bytes == fewest]
    smallest = min(model_size(variant) for variant in within)
    within = [variant for variant in within if model_size(variant) <= SAME_SIZE * smallest]
    fastest = max(variant.texts_per_second or 0.0 for variant in within)
    within = [variant for variant in within if (variant.texts_per_second or 0.0) >= SAME_SPEED * fastest]
    return min(within, key=lambda variant: variant.value if lower_is_better else -variant.value)


def model_size(variant: Variant) -> float:
    """Return the bytes of the model; infinity if they are unknown."""
    return np.inf if variant.model_bytes is None else variant.model_bytes


def best_float(gathered: "Gathered") -> Form | None:
    """Return the variant with the best float result in the study's float deployment; None if no method has one for all seeds."""
    figures = gathered.on_all_axes
    plain = [form for form in complete_forms(gathered) if is_float(form, gathered.study.float_deployment)]
    sign = -1 if gathered.lower_is_better else 1
    return max(plain, key=lambda form: sign * mean_of(figures[form]), default=None)


def complete_forms(gathered: "Gathered") -> list[Form]:
    """Return the variants that have results of all tasks for all of their seeds: a corpus may have too few documents for some axes."""
    figures, tasks = gathered.on_all_axes, set(gathered.metrics)
    return [
        form
        for form, by_seed in figures.items()
        if form not in figures.gaps and all(set(of_seed) == tasks for of_seed in by_seed.values())
    ]


def mean_of(by_seed: BySeed) -> float:
    """Return the mean over seeds of the mean of the tasks' means."""
    return float(np.mean(list(seed_means(by_seed).values())))


def can_be_deployed(output: OutputColumns) -> bool:
    """Return whether an output can be shipped: not one that repeats how a library evaluates, or whose queries need other queries.

    Ranges per call are fitted on all queries of an evaluation at once, which a search does not have.
    """
    alone = output["ranges"] != "per_call" or output["query_precision"] not in RANGED
    return output["scoring"] not in COMPAT and alone


def variants(gathered: "Gathered", reference: Form, confidence: float = 0.95) -> list[Variant]:
    """Return all variants that can be shipped, with their losses against one of them and simultaneous intervals.

    Args:
        gathered: the results of the study.
        reference: the variant that others are compared with.
        confidence: probability that all intervals cover.
    """
    figures, costs = gathered.on_all_axes, _Costs(gathered)
    comparable = [
        Variant(form, differences, mean_of(figures[form]), *costs.of(form))
        for form in complete_forms(gathered)
        if can_be_deployed(figures.outputs[form]) and (differences := paired(figures[form], figures[reference]))
    ]
    ends = simultaneous_intervals([variant.differences for variant in comparable], confidence)
    sign = 1 if gathered.lower_is_better else -1
    return [
        _with_loss(variant, sign * low, sign * high, sign * _mean_difference(variant.differences))
        for variant, low, high in zip(comparable, *(side.tolist() for side in ends), strict=True)
    ]


def _mean_difference(differences: list[np.ndarray]) -> float:
    return float(np.mean([task.mean() for task in differences]))


def _with_loss(variant: Variant, *statistics: float) -> Variant:
    """Return a variant with its loss and both ends of the interval, in any order; adding 0.0 turns −0.0 into 0.0."""
    low, high, loss = statistics
    return replace(variant, loss=loss + 0.0, low=min(low, high) + 0.0, high=max(low, high) + 0.0)


class _Costs:
    """Bytes and speed of variants, from cost.csv and search.csv."""

    def __init__(self, gathered: "Gathered") -> None:
        self.runs, self.figures = gathered.runs, gathered.on_all_axes
        self.of_model = gathered.cost.set_index(["run", "deploy"])[["bytes_on_disk", "texts_per_second"]].astype(float)
        search = with_status(without_engines(gathered.search))
        search = search[search[STATUS] == OK].assign(output=precision_labels)
        self.stored = search.groupby(["run", "deploy", "rotation", "output"])["stored_bytes"].max().to_dict()

    def of(self, form: Form) -> tuple[int, int | None, float | None]:
        """Return the bytes per document with copies, the bytes of the model, and the texts per second."""
        names = [run.name for run in runs_of(self.runs, form)]
        alike = [
            (run.name, form.deploy) for run in self.runs if run.cell == form.varied and form.deploy in run.deployed
        ]
        size = self.of_model["bytes_on_disk"].loc[[(name, form.deploy) for name in names]].median()
        speed = self.of_model["texts_per_second"].loc[alike].median()
        searched = [self.stored.get((name, form.deploy, form.rotation, form.output)) for name in names]
        stored = max(
            (int(known) for known in searched if known is not None), default=self.figures.outputs[form]["doc_bytes"]
        )
        # A causal language model stores no documents.
        return stored or 0, None if np.isnan(size) else int(size), None if np.isnan(speed) else float(speed)


def runs_of(runs: Sequence[RunRecord], form: Form) -> list[RunRecord]:
    """Return the runs of a variant's method and cell, by seed."""
    of_form = [run for run in runs if (run.method, run.cell) == (form.method, form.varied)]
    return sorted(of_form, key=lambda run: -1 if run.seed is None else run.seed)
