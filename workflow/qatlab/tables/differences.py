"""Differences of methods from the baseline and of deployments from float, with intervals, p-values and verdicts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qatlab.evaluation.outputs import outputs
from qatlab.statistics import NOT_SEPARABLE, Needed, Verdict, verdicts
from qatlab.study.record import StudyRecord
from qatlab.tables.missing import OK, note, worst
from qatlab.tables.names import TEXT
from qatlab.tables.outputs import FLOAT
from qatlab.tables.per_query import BySeed, Form, mean_cell, paired, statuses
from qatlab.tables.table import TABLES, Table

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


DIFFERENCE = "difference"
WOULD_TAKE = "to tell them apart"
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
    pairs = [(form, form._replace(method=baseline)) for form in query_scores if form.method != baseline]
    return _table(query_scores, [pair for pair in pairs if pair[1] in query_scores], varied, lower_is_better)


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
    plain = [form for form in query_scores if _is_float(form, reference)]
    floats = {(form.method, form.varied): form for form in plain}
    pairs = [(form, floats.get((form.method, form.varied))) for form in query_scores if form not in plain]
    return _table(query_scores, [(form, other) for form, other in pairs if other is not None], varied, lower_is_better)


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
    pair_statuses = [worst([*statuses(query_scores, a), *statuses(query_scores, b)]) for a, b in pairs]
    complete = [pair for pair, status in zip(pairs, pair_statuses, strict=True) if status == OK]
    tested = iter(
        verdicts([paired(query_scores[a], query_scores[b]) for a, b in complete], lower_is_better, len(pairs))
    )
    rows = [
        _cells(next(tested)) if status == OK else _cells_without(query_scores, pair, status)
        for pair, status in zip(pairs, pair_statuses, strict=True)
    ]
    return pd.DataFrame(rows)


def _cells_without(query_scores: Mapping[Any, BySeed], pair: tuple[Any, Any], status: str) -> dict[str, str | None]:
    lacks = {key.method: gap for key in pair if (gap := note(statuses(query_scores, key)))}
    cells: dict[str, str | None] = dict.fromkeys((DIFFERENCE, *JUDGED), status)
    return cells | {WOULD_TAKE: "; ".join(f"{method}: {gap}" for method, gap in lacks.items())}


def _is_float(form: Form, reference: str) -> bool:
    return (form.deploy, form.rotation) == (reference, "none") and form.output in (FLOAT, TEXT)


def _table(
    query_scores: dict[Form, BySeed], pairs: list[Pair], varied: list[str], lower_is_better: bool
) -> pd.DataFrame:
    pairs = [(a, b) for a, b in pairs if paired(query_scores[a], query_scores[b])]
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
        WOULD_TAKE: _would_take(verdict.needed) if verdict.word == NOT_SEPARABLE else "",
    }


def _would_take(needed: Needed) -> str:
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


@TABLES.register("against_baseline")
class AgainstBaseline(Table):
    """Table of the difference of each method from the baseline."""

    place = 70
    caption = """\
The difference of each method from the baseline in the same deployment and output, paired by query and seed; mean of the tasks.
Intervals are computed by a bootstrap over queries and seeds, p-values by a permutation test over queries, corrected for all rows of
the table (Holm). The verdicts better and worse require both; if the two don't agree, the last column is the number of queries or
seeds that would find a difference as large as this one in four studies out of five.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has results for this table."""
        methods = {run.method for run in study.runs}
        return study.baseline in methods and len(methods) > 1

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        return f"{gathered.label}, mean of the tasks: each method less {gathered.baseline}, shipped alike ({gathered.judged})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        return against_baseline(gathered.figures, gathered.baseline, gathered.varied, gathered.lower_is_better)


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
        """Return whether the study has results for this table."""
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
