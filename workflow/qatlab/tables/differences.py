"""Tables of differences with interval, p-value and verdict: methods, deployments, QAT minus PTQ; and held-out triplets."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qatlab.evaluation.outputs import METRICS_OF_KIND, outputs
from qatlab.statistics import NOT_SEPARABLE, Needed, Verdict, verdicts
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.gathered import BySeed, Figures, Form, mean_cell, paired, per_query, seed_means, statuses
from qatlab.tables.labels import FLOAT
from qatlab.tables.missing import NOTE, OK, WHOLE, Missing, note, worst
from qatlab.tables.names import TEXT, metric_label
from qatlab.tables.table import TABLES, Table

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered

DIFFERENCE = "difference"
WOULD_TAKE = "to tell them apart"
SIZES = "bytes per document"
JUDGED = ("95 % interval", "p (Holm)", "verdict")
OUT_OF_REACH = 1000  # multiple of a study's queries and seeds above which only this bound is shown
Pair = tuple[Form, Form]


def against_baseline(
    query_scores: dict[Form, BySeed], baseline: str, varied: list[str], lower_is_better: bool = False
) -> pd.DataFrame:
    """Subtract the baseline from each method at the same deployment and output; one row per method, deployment and output.

    Args:
        query_scores: one metric for each query.
        baseline: the method that is subtracted.
        varied: columns of the matrix besides method and seed.
        lower_is_better: whether lower values of the metric are better.
    """
    return _table(query_scores, pairs_with_baseline(query_scores, baseline), varied, lower_is_better)


def pairs_with_baseline(query_scores: Mapping[Form, BySeed], baseline: str) -> list[Pair]:
    """Return each variant of another method with the baseline's in the same deployment and output."""
    pairs = [(form, form._replace(method=baseline)) for form in query_scores if form.method != baseline]
    return [(a, b) for a, b in pairs if b in query_scores and paired(query_scores[a], query_scores[b])]


def against_float(
    query_scores: dict[Form, BySeed], reference: str, varied: list[str], lower_is_better: bool = False
) -> pd.DataFrame:
    """Subtract the same model in float32 from each deployment and output; one row per method, deployment and output.

    Args:
        query_scores: one metric for each query.
        reference: the deployment whose scores are subtracted: those of its float32 embeddings on their own axes, or of its texts.
        varied: columns of the matrix besides method and seed.
        lower_is_better: whether lower values of the metric are better.
    """
    return _table(query_scores, pairs_with_float(query_scores, reference), varied, lower_is_better)


def pairs_with_float(query_scores: Mapping[Form, BySeed], reference: str) -> list[Pair]:
    """Return each variant with the same model's float results in the deployment `reference`, except these results themselves."""
    plain = [form for form in query_scores if is_float(form, reference)]
    floats = {(form.method, form.varied): form for form in plain}
    pairs = [(form, floats.get((form.method, form.varied))) for form in query_scores if form not in plain]
    return [(a, b) for a, b in pairs if b is not None and paired(query_scores[a], query_scores[b])]


def judged(
    query_scores: Mapping[Any, BySeed], pairs: Sequence[tuple[Any, Any]], lower_is_better: bool = False
) -> pd.DataFrame:
    """Test the difference of each pair, with p-values corrected for all pairs (Holm).

    Args:
        query_scores: one metric for each query, by variant.
        pairs: keys of `query_scores`; the second is subtracted from the first.
        lower_is_better: whether lower values of the metric are better.

    Returns:
        One row per pair: the difference, its interval, p-value and verdict, and the queries or seeds that a verdict would take.
        If either side lacks a seed, the cells are `failed` or `not run`: the other seeds are not tested alone.
    """
    rows = [
        _cells(verdict) if verdict is not None else _cells_without(query_scores, pair, _status(query_scores, pair))
        for pair, verdict in zip(pairs, tested(query_scores, pairs, lower_is_better), strict=True)
    ]
    return pd.DataFrame(rows)


def tested(
    query_scores: Mapping[Any, BySeed], pairs: Sequence[tuple[Any, Any]], lower_is_better: bool = False
) -> list[Verdict | None]:
    """Return the verdict on the difference of each pair, with p-values corrected for all pairs; None where a side lacks a seed.

    Verdicts on results of the type `Figures` are kept with them, because several views show the same ones.

    Args:
        query_scores: one metric for each query, by variant.
        pairs: keys of `query_scores`; the second is subtracted from the first.
        lower_is_better: whether lower values of the metric are better.
    """
    known = query_scores.verdicts if isinstance(query_scores, Figures) else {}
    key = (tuple(pairs), lower_is_better)
    if key not in known:
        is_complete = [_status(query_scores, pair) == OK for pair in pairs]
        complete = [pair for pair, whole in zip(pairs, is_complete, strict=True) if whole]
        differences = [paired(query_scores[a], query_scores[b]) for a, b in complete]
        results = iter(verdicts(differences, lower_is_better, len(pairs)))
        known[key] = [next(results) if whole else None for whole in is_complete]
    return known[key]


def _status(query_scores: Mapping[Any, BySeed], pair: tuple[Any, Any]) -> str:
    return worst([*statuses(query_scores, pair[0]), *statuses(query_scores, pair[1])])


def _cells_without(query_scores: Mapping[Any, BySeed], pair: tuple[Any, Any], status: str) -> dict[str, str | None]:
    lacks = {key.method: gap for key in pair if (gap := note(statuses(query_scores, key)))}
    cells: dict[str, str | None] = dict.fromkeys((DIFFERENCE, *JUDGED), status)
    return cells | {WOULD_TAKE: "; ".join(f"{method}: {gap}" for method, gap in lacks.items())}


def is_float(form: Form, reference: str) -> bool:
    """Return whether a variant is that of float embeddings on their own axes, or of texts, in the deployment `reference`."""
    return (form.deploy, form.rotation) == (reference, "none") and form.output in (FLOAT, TEXT)


def _table(
    query_scores: dict[Form, BySeed], pairs: list[Pair], varied: list[str], lower_is_better: bool
) -> pd.DataFrame:
    rows = [labels(form, varied) | {"value": mean_cell(query_scores, form)} for form, _ in pairs]
    redundant = [
        *(["integer kernel"] if len({form.kernel for form in query_scores} - {""}) < 2 else []),
        *(["rotation"] if {form.rotation for form in query_scores} == {"none"} else []),
        *(["output precision"] if {form.output for form in query_scores} == {TEXT} else []),
    ]
    table = pd.DataFrame(rows).drop(columns=redundant, errors="ignore")
    return pd.concat([table, judged(query_scores, pairs, lower_is_better)], axis=1)


def labels(form: Form, varied: list[str]) -> dict[str, object]:
    """Return the columns that identify a row; `varied` names the columns of the matrix besides method and seed."""
    return {
        "method": form.method,
        **dict(zip(varied, form.varied, strict=True)),
        "deploy": form.deploy,
        "integer kernel": form.kernel,
        "rotation": form.rotation,
        "output precision": form.output,
    }


def _cells(verdict: Verdict) -> dict[str, str | None]:
    return {
        DIFFERENCE: f"{round(verdict.difference, 4) + 0.0:+.4f}",  # adding 0.0 turns −0.0 into 0.0
        "95 % interval": _interval(verdict),
        "p (Holm)": f"{verdict.p:.3f}" if verdict.p >= 0.001 else "< 0.001",
        "verdict": verdict.word,
        WOULD_TAKE: would_take(verdict.needed) if verdict.word == NOT_SEPARABLE else "",
    }


def would_take(needed: Needed) -> str:
    """Format what a verdict would take: '4,100 queries or 9 seeds', or '2.3 times the queries and seeds' if neither suffices alone."""
    if needed.times is None or needed.times > OUT_OF_REACH:
        return f"over {OUT_OF_REACH:,} times as much"
    counts = {"queries": needed.queries, "seeds": needed.seeds}
    enough = [f"{count:,} {unit}" for unit, count in counts.items() if count is not None]
    times = f"{needed.times:.0f}" if needed.times >= 10 else f"{needed.times:.2g}"  # `.2g` alone would print 1.9e+02
    return " or ".join(enough) or f"{times} times the queries and seeds"


def _interval(verdict: Verdict) -> str | None:
    return (
        None if np.isnan(verdict.low) else f"{round(verdict.low, 4) + 0.0:+.4f} to {round(verdict.high, 4) + 0.0:+.4f}"
    )


def _sizes(query_scores: Figures, pair: Pair) -> str:
    """Return the bytes per document of both sides, as "128 instead of 48"; empty where they are equal, or where one is unknown."""
    own, other = (query_scores.outputs[form]["doc_bytes"] for form in pair)
    return "" if None in (own, other) or own == other else f"{own:,.0f} instead of {other:,.0f}"


@TABLES.register("against_baseline")
class AgainstBaseline(Table):
    """Table of the difference of each method from the baseline."""

    place = 70
    caption = """\
The difference of each method from the baseline in the same deployment and output, paired by query and seed; mean of the tasks.
Intervals are computed by a bootstrap over queries and seeds, p-values by a permutation test over queries, corrected for all rows of
the table (Holm). The verdicts better and worse require both; if the two don't agree, the last column is the number of queries or
seeds that would find a difference as large as this one in four studies out of five. Where a method takes more or fewer bytes per
document than the baseline, both are shown, because its difference is not one at equal bytes.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has the baseline and another method."""
        methods = {run.method for run in study.runs}
        return study.baseline in methods and len(methods) > 1

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        return f"{gathered.label}, mean of the tasks: each method less {gathered.baseline}, shipped alike ({gathered.judged})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        figures, baseline = gathered.figures, gathered.baseline
        table = against_baseline(figures, baseline, gathered.varied, gathered.lower_is_better)
        sizes = [_sizes(figures, pair) for pair in pairs_with_baseline(figures, baseline)]
        if any(sizes):
            table.insert(list(table.columns).index("value"), SIZES, sizes)
        return table


@TABLES.register("against_float")
class AgainstFloat(Table):
    """Table of the difference of each deployment and output from float32."""

    place = 80
    caption = """\
The cost of shipping: the difference of each deployment and output precision from the same model's float32 embeddings, paired by query
and seed; mean of the tasks. Intervals are computed by a bootstrap over queries and seeds, p-values by a permutation test over queries,
corrected for all rows of the table (Holm). The last column is the number of queries or seeds that would find a difference as large as
this one in four studies out of five.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has more than one deployment or output."""
        evaluate = study.evaluate
        if evaluate is None:
            return len(study.deployments) > 1
        scored = outputs(evaluate)
        return len(study.deployments) * len(scored) > 1 and any(output.plain for output in scored)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        output, plain = "texts" if gathered.in_text else FLOAT, gathered.study.float_deployment
        return f"{gathered.label}, mean of the tasks: what is shipped less the same model's {output} in {plain} ({gathered.judged})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        return against_float(
            gathered.figures, gathered.study.float_deployment, gathered.varied, gathered.lower_is_better
        )


def qat_minus_ptq(
    results: dict[Form, BySeed], runs: Sequence[RunRecord], varied: list[str], lower_is_better: bool = False
) -> pd.DataFrame:
    """Return one row per scheme, method, deployment and output precision.

    Values are means of the tasks; differences are paired by seed, query and whatever else the matrix varies.

    Args:
        results: per-query results of one metric.
        runs: the study's runs; `matched` names the deployments on the grid that a run was trained for, `counterpart` the method
            of its PTQ counterpart.
        varied: the matrix keys, besides method and seed, that become columns.
        lower_is_better: whether smaller values of the metric are better.
    """
    trained = {run.method: run for run in runs if run.counterpart}
    rows, pairs = [], []
    for form in results:
        run = trained.get(form.method)
        if run is None or form.deploy not in run.matched or form.rotation != "none":
            continue
        counterpart = form._replace(method=run.counterpart or "")  # with the same integer kernel
        if counterpart in results and paired(results[form], results[counterpart]):
            labels = {"scheme": run.matched[form.deploy], "QAT method": form.method, "PTQ of": counterpart.method}
            labels |= dict(zip(varied, form.varied, strict=True))
            rows.append(
                {
                    **labels,
                    "deploy": form.deploy,
                    "output precision": form.output,
                    **_values(results, form, counterpart),
                }
            )
            pairs.append((form, counterpart))
    table = pd.DataFrame(rows)
    if {form.output for form in results} == {TEXT}:
        table = table.drop(columns="output precision", errors="ignore")
    judgements = judged(results, pairs, lower_is_better).drop(columns=DIFFERENCE, errors="ignore")
    return pd.concat([table, judgements], axis=1)


def _values(results: dict[Form, BySeed], form: Form, counterpart: Form) -> dict[str, object]:
    """Return the cells of a row, over the seeds that both variants have; after a failure, a status replaces the difference."""
    status = worst([*statuses(results, form), *statuses(results, counterpart)])
    if status != OK:
        means = {"PTQ": mean_cell(results, counterpart), "QAT": mean_cell(results, form)}
        return {**means, "QAT − PTQ": status, "seeds": status}
    qat, ptq = seed_means(results[form]), seed_means(results[counterpart])
    shared = [seed for seed in qat if seed in ptq]
    before, after = np.array([ptq[seed] for seed in shared]), np.array([qat[seed] for seed in shared])
    return {
        "PTQ": _cell(before, "%.4f"),
        "QAT": _cell(after, "%.4f"),
        "QAT − PTQ": _cell(after - before, "%+.4f"),
        "seeds": len(shared),
    }


def _cell(values: np.ndarray, form: str) -> str:
    return form % values.mean() + (f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "")


@TABLES.register("qat_minus_ptq")
class QatMinusPtq(Table):
    """Table of the benefit of training for a scheme over quantizing after training."""

    place = 120
    caption = """\
Benefit of training for a scheme: the model trained for it minus the baseline quantized to the same scheme after training, both as
shipped, paired by seed and query; mean of the tasks. This is not the difference from the float model. Intervals are from a bootstrap
over queries and seeds, p-values from a permutation test over queries, corrected for all rows of the table (Holm).
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether a run that was trained for a scheme has a PTQ counterpart."""
        return any(run.matched and run.counterpart for run in study.runs)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        comparison = "training for a scheme against quantizing after training"
        return f"{gathered.label}, mean of the tasks: {comparison} ({gathered.judged}{gathered.with_seeds})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return qat_minus_ptq(gathered.figures, gathered.runs, gathered.varied, gathered.lower_is_better)


# Held-out triplets: rank of each query's answer among its own hard negatives, and its margin over them.
#
# The metrics are those of electroglyph's EmbeddingGemma study. The time that they take is in cost.csv.

RANKS = {"rank 1": (1, 1), "2–3": (2, 3), "4–10": (4, 10), "over 10": (11, np.inf)}
FORMATS = {"accuracy@1": "%.4f", "mrr": "%.4f", "positive_similarity": "%.4f", "margin": "%+.4f"}


def withheld(
    runs: Sequence[RunRecord],
    results: Path,
    tasks: list[str],
    missing: Missing = WHOLE,
    axes: Collection[str] = ("none",),
) -> pd.DataFrame:
    """Return one row per method, deployment, output and task: means over triplets and seeds, and the shares of ranks.

    Missing seeds are left out, and their number is noted.

    Args:
        runs: the study's runs.
        results: folder of the artifacts.
        tasks: names of the tasks of the kind `reranking`.
        missing: the missing artifacts and their status.
        axes: labels of the rotations that are shown.
    """
    figures = {
        name: per_query(runs, results, dict.fromkeys(tasks, name), missing).on_axes(axes)
        for name in METRICS_OF_KIND["reranking"]
    }
    varied = list(runs[0].varied)
    rows = [_row(form, task, figures, varied) for task in tasks for form in figures["rank"]]
    table = pd.DataFrame(rows)
    if NOTE in table:
        table[NOTE] = table[NOTE].fillna("")
    constant_columns = [
        *(["task"] if len(tasks) == 1 else []),
        *(["rotation"] if set(table["rotation"]) == {"none"} else []),
        *(["integer kernel"] if table["integer kernel"].nunique() < 3 else []),
    ]
    return table.drop(columns=constant_columns)


def _row(form: Form, task: str, figures: dict[str, Figures], varied: list[str]) -> dict[str, object]:
    values = {name: _withheld_values(by_form[form], task) for name, by_form in figures.items()}
    is_missing = np.isnan(values["rank"]).all(axis=1)
    gaps = figures["rank"].gaps.get(form, {})
    statuses = [
        gaps.get(seed, OK) if left_out else OK for seed, left_out in zip(figures["rank"][form], is_missing, strict=True)
    ]
    if is_missing.all():
        shown = (*(metric_label(name) for name in FORMATS), *RANKS, "records")
        return {**labels(form, varied), "task": task, **dict.fromkeys(shown, worst(statuses)), NOTE: note(statuses)}
    values = {name: by_seed[~is_missing] for name, by_seed in values.items()}
    shares = {
        name: f"{((values['rank'] >= first) & (values['rank'] <= last)).mean():.1%}"
        for name, (first, last) in RANKS.items()
    }
    return {
        **labels(form, varied),
        "task": task,
        **{metric_label(name): pattern % values[name].mean() for name, pattern in FORMATS.items()},
        **shares,
        "records": values["rank"].shape[1],
        **({NOTE: note(statuses)} if is_missing.any() else {}),
    }


def _withheld_values(figures: BySeed, task: str) -> np.ndarray:
    """Return the results of a task as an array (seeds, triplets)."""
    return np.stack([by_task[task] for by_task in figures.values()])


@TABLES.register("withheld")
class WithheldRecords(Table):
    """Table of the rank of each query's answer among its own hard negatives."""

    place = 50
    caption = """\
Held-out triplets: the rank of each query's answer among its own hard negatives. Accuracy@1 and MRR use the rank of the best
positive, where a negative with the same score ranks before it. Positive similarity and margin (the least similar positive minus the most
similar negative) are cosine similarities of the stored embeddings. The last columns are shares of triplets by rank.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has a task of the kind `reranking`."""
        return "reranking" in study.kinds.values()

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        seeds = gathered.over.partition(",")[0]
        return f"Held-out triplets: each query's answer among its own hard negatives ({seeds}){gathered.kernel_note}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        axes = gathered.study.chosen_axes
        return withheld(gathered.runs, gathered.results, gathered.withheld, gathered.missing, axes)
