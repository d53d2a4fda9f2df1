"""What training buys and what shipping costs, each difference with its interval, p-value and verdict."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qatlab.evaluation.outputs import outputs
from qatlab.statistics.power import Needed
from qatlab.statistics.verdict import NOT_SEPARABLE, Verdict, verdicts
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
OUT_OF_REACH = 1000  # times what a study has
Pair = tuple[Form, Form]


def against_baseline(
    figures: dict[Form, BySeed], baseline: str, varied: list[str], lower_is_better: bool = False
) -> pd.DataFrame:
    """Each method less the baseline, shipped alike: a row per method, deployment and output.

    Args:
        figures: of one metric.
        baseline: the method that is taken away.
        varied: what else the matrix varies, as columns.
        lower_is_better: whether the metric is a cost.
    """
    pairs = [(form, form._replace(method=baseline)) for form in figures if form.method != baseline]
    return _table(figures, [pair for pair in pairs if pair[1] in figures], varied, lower_is_better)


def against_float(
    figures: dict[Form, BySeed], reference: str, varied: list[str], lower_is_better: bool = False
) -> pd.DataFrame:
    """Each form that a model is shipped in less the same model in float32: a row per method, deployment and output.

    Args:
        figures: of one metric.
        reference: the deployment whose float32 embeddings, on their own axes, or whose texts are taken away.
        varied: what else the matrix varies, as columns.
        lower_is_better: whether the metric is a cost.
    """
    plain = [form for form in figures if _is_float(form, reference)]
    floats = {(form.method, form.varied): form for form in plain}
    pairs = [(form, floats.get((form.method, form.varied))) for form in figures if form not in plain]
    return _table(figures, [(form, other) for form, other in pairs if other is not None], varied, lower_is_better)


def judged(
    figures: Mapping[Any, BySeed], pairs: Sequence[tuple[Any, Any]], lower_is_better: bool = False
) -> pd.DataFrame:
    """Of each pair, in a row: the difference, its interval, p-value and verdict, and what a surer one would take.

    A pair that lacks a seed of either side is not judged by the others: its cells say failed, or not run.
    """
    words = [worst([*statuses(figures, a), *statuses(figures, b)]) for a, b in pairs]
    whole = [pair for pair, word in zip(pairs, words, strict=True) if word == OK]
    found = iter(verdicts([paired(figures[a], figures[b]) for a, b in whole], lower_is_better, len(pairs)))
    rows = [
        _cells(next(found)) if word == OK else _cells_without(figures, pair, word)
        for pair, word in zip(pairs, words, strict=True)
    ]
    return pd.DataFrame(rows)


def _cells_without(figures: Mapping[Any, BySeed], pair: tuple[Any, Any], word: str) -> dict[str, str | None]:
    lacks = {key.method: said for key in pair if (said := note(statuses(figures, key)))}
    told: dict[str, str | None] = dict.fromkeys((DIFFERENCE, *JUDGED), word)
    return told | {WOULD_TAKE: "; ".join(f"{method}: {said}" for method, said in lacks.items())}


def _is_float(form: Form, reference: str) -> bool:
    return (form.deploy, form.rotation) == (reference, "none") and form.output in (FLOAT, TEXT)


def _table(figures: dict[Form, BySeed], pairs: list[Pair], varied: list[str], lower_is_better: bool) -> pd.DataFrame:
    pairs = [(a, b) for a, b in pairs if paired(figures[a], figures[b])]
    rows = [labels(form, varied) | {"value": mean_cell(figures, form)} for form, _ in pairs]
    told_anyway = [
        *(["integer kernel"] if len({form.kernel for form in figures} - {""}) < 2 else []),
        *(["rotation"] if {form.rotation for form in figures} == {"none"} else []),
        *(["output precision"] if {form.output for form in figures} == {TEXT} else []),
    ]
    table = pd.DataFrame(rows).drop(columns=told_anyway, errors="ignore")
    return pd.concat([table, judged(figures, pairs, lower_is_better)], axis=1)


def labels(form: Form, varied: list[str]) -> dict[str, object]:
    """The columns that say what a row is of; `varied` names what else the matrix varies."""
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
        DIFFERENCE: f"{round(verdict.difference, 4) + 0.0:+.4f}",  # never −0
        "95 % interval": _interval(verdict),
        "p (Holm)": f"{verdict.p:.3f}" if verdict.p >= 0.001 else "< 0.001",
        "verdict": verdict.word,
        WOULD_TAKE: _would_take(verdict.needed) if verdict.word == NOT_SEPARABLE else "",
    }


def _would_take(needed: Needed) -> str:
    """'4,100 queries or 9 seeds'; '2.3 times the queries and seeds' where neither does by itself."""
    if needed.times is None or needed.times > OUT_OF_REACH:
        return f"over {OUT_OF_REACH:,} times as much"
    counts = {"queries": needed.queries, "seeds": needed.seeds}
    enough = [f"{count:,} {what}" for what, count in counts.items() if count is not None]
    times = f"{needed.times:.0f}" if needed.times >= 10 else f"{needed.times:.2g}"  # never 1.9e+02
    return " or ".join(enough) or f"{times} times the queries and seeds"


def _interval(verdict: Verdict) -> str | None:
    return (
        None if np.isnan(verdict.low) else f"{round(verdict.low, 4) + 0.0:+.4f} to {round(verdict.high, 4) + 0.0:+.4f}"
    )


@TABLES.register("against_baseline")
class AgainstBaseline(Table):
    """Table of what each method is worth over the baseline."""

    place = 70
    caption = """\
What each method is worth: its figure less the baseline's, shipped in the same form, query by query and seed by seed; mean of the
tasks. Intervals are by a bootstrap over queries and seeds, p-values by a permutation test over queries, corrected for all rows of
the table (Holm). Better and worse need both; where they don't agree, the last column says how many queries or seeds would find a
difference as large as this one in four studies out of five.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
        methods = {run.method for run in study.runs}
        return study.baseline in methods and len(methods) > 1

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        return f"{gathered.label}, mean of the tasks: each method less {gathered.baseline}, shipped alike ({gathered.judged})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return against_baseline(gathered.figures, gathered.baseline, gathered.varied, gathered.lower_is_better)


@TABLES.register("against_float")
class AgainstFloat(Table):
    """Table of what shipping costs."""

    place = 80
    caption = """\
What shipping costs: each deployment and output precision less the same model's float32 embeddings, query by query and seed by
seed; mean of the tasks. Intervals are by a bootstrap over queries and seeds, p-values by a permutation test over queries, corrected
for all rows of the table (Holm). The last column says how many queries or seeds would find a difference as large as this one in
four studies out of five.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
        evaluate = study.evaluate
        if evaluate is None:
            return len(study.deployments) > 1
        scored = outputs(evaluate)
        return len(study.deployments) * len(scored) > 1 and any(output.plain for output in scored)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        what, plain = "texts" if gathered.in_text else FLOAT, gathered.study.float_deployment
        return f"{gathered.label}, mean of the tasks: what is shipped less the same model's {what} in {plain} ({gathered.judged})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return against_float(
            gathered.figures, gathered.study.float_deployment, gathered.varied, gathered.lower_is_better
        )
