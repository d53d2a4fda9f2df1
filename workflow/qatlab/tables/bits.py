"""Outputs of at most two bits per dimension on their own axes: scores, sizes, and what the axes were fitted on."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qatlab.evaluation.outputs import has_few_bits, outputs
from qatlab.quantization.precisions import BITS
from qatlab.study.record import StudyRecord
from qatlab.tables.differences import DIFFERENCE, JUDGED, judged, labels
from qatlab.tables.missing import cell, worst
from qatlab.tables.per_query import Figures, Form, paired, seed_means, statuses
from qatlab.tables.table import TABLES, Table

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


PLAIN = "none"  # the label of the model's own axes
OWN = "its own axes"  # the name of these axes for grids of more than one bit; one-bit outputs are signs at 0
Others = Mapping[Form, Form | None]


def bits(query_scores: Figures, baseline: str, axes: Mapping[str, str], varied: list[str]) -> pd.DataFrame:
    """Build a table with one row per deployment, output of at most two bits per dimension, axes and method, sorted in this order.

    A method is compared with the baseline at the same output on the same axes, so that both use the same information about the
    corpus. The baseline, an untrained model, and a method without such a counterpart are compared with their own scores on the
    model's own axes; the column `compared with` names the counterpart.

    Args:
        query_scores: the study's main metric for each query, on all axes.
        baseline: the method that others are compared with.
        axes: descriptions of the study's axes by label, in the study's order.
        varied: columns of the matrix besides method and seed.
    """
    chosen = [form for form in query_scores if has_few_bits(query_scores.outputs[form])]
    forms = sorted(chosen, key=_sort_key(chosen, query_scores, axes))
    others = {form: _counterpart(form, query_scores, baseline) for form in forms}
    tasks = len({task for form in forms for by_task in query_scores[form].values() for task in by_task})
    rows = [
        {
            **labels(form, varied),
            "axes": _in_words(form, query_scores, axes),
            "fitted on": query_scores.outputs[form]["fitted_on"],
            "bytes per document": _bytes_cell(form, query_scores),
            "value": _value(form, query_scores, tasks),
            "compared with": _counterpart_name(form, others[form], query_scores, axes),
        }
        for form in forms
    ]
    redundant = ["rotation", *(["integer kernel"] if len({form.kernel for form in forms} - {""}) < 2 else [])]
    table = pd.DataFrame(rows).drop(columns=redundant, errors="ignore")
    return pd.concat([table, _judged(query_scores, forms, others)], axis=1)


def _sort_key(
    forms: Sequence[Form], query_scores: Figures, axes: Mapping[str, str]
) -> Callable[[Form], tuple[float, ...]]:
    """Return the sort key of rows; rows with equal keys, such as those of different methods, keep the study's order."""
    deploys, outputs = (list(dict.fromkeys(getattr(form, column) for form in forms)) for column in ("deploy", "output"))
    order = list(axes)

    def sort_key(form: Form) -> tuple[float, ...]:
        size = _bytes(form, query_scores)
        known = np.inf if size is None else size
        return deploys.index(form.deploy), known, outputs.index(form.output), order.index(form.rotation)

    return sort_key


def _bytes(form: Form, query_scores: Figures) -> float | None:
    """Return the bytes per document.

    If all jobs of a variant have failed, use the size of other variants at the same output if these agree, or else None.
    """
    own: float | None = query_scores.outputs[form]["doc_bytes"]
    if own is not None:
        return own
    alike = [other for other in query_scores if other[2:] == form._replace(kernel=other.kernel)[2:]]
    sizes = {query_scores.outputs[other]["doc_bytes"] for other in alike} - {None}
    return sizes.pop() if len(sizes) == 1 else None


def _bytes_cell(form: Form, query_scores: Figures) -> str:
    size = _bytes(form, query_scores)
    return worst(statuses(query_scores, form)) if size is None else f"{size:,.0f}"


def _value(form: Form, query_scores: Figures, tasks: int) -> str:
    """Format the mean over tasks and over the seeds that have all tasks, and the number of seeds and tasks that are missing."""
    values = [mean for mean in seed_means(query_scores[form]).values() if not np.isnan(mean)]
    text = f"{np.mean(values):.4f}" if values else ""
    text += f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    own = len({task for by_task in query_scores[form].values() for task in by_task})
    return cell(text if own == tasks else f"{text} ({own} of {tasks} tasks)", statuses(query_scores, form))


def _counterpart(form: Form, query_scores: Figures, baseline: str) -> Form | None:
    """Return the counterpart that a variant is compared with; None if it has none."""
    plain = form._replace(rotation=PLAIN)
    candidates = [plain] if plain != form else []
    if form.method != baseline and set(query_scores[form]) != {None}:  # an untrained model has no seed
        candidates.insert(0, form._replace(method=baseline))
    return next(
        (other for other in candidates if other in query_scores and paired(query_scores[form], query_scores[other])),
        None,
    )


def _in_words(form: Form, query_scores: Figures, axes: Mapping[str, str]) -> str:
    if form.rotation == PLAIN and BITS[query_scores.outputs[form]["doc_precision"]] > 1:
        return OWN
    return axes[form.rotation]


def _counterpart_name(form: Form, other: Form | None, query_scores: Figures, axes: Mapping[str, str]) -> str | None:
    if other is None or other.method != form.method:
        return other and other.method
    words = _in_words(other, query_scores, axes)
    return words if words == OWN else f"its own {words}"


def _judged(query_scores: Figures, forms: Sequence[Form], others: Others) -> pd.DataFrame:
    """Compare each variant with its counterpart: difference, interval, p-value and verdict; empty cells without a counterpart.

    Methods against the baseline, and axes against the model's own axes, are two questions. P-values are corrected (Holm) within each.
    """
    columns = (DIFFERENCE, *JUDGED)
    rows: dict[Form, Mapping[Any, Any]] = {form: dict.fromkeys(columns) for form in forms}
    pairs = [(form, other) for form in forms if (other := others[form]) is not None]
    methods = [(form, other) for form, other in pairs if other.method != form.method]
    axes = [(form, other) for form, other in pairs if other.method == form.method]
    for family in (methods, axes):
        for (form, _), cells in zip(family, judged(query_scores, family).to_dict("records"), strict=True):
            rows[form] = cells
    return pd.DataFrame(list(rows.values()), columns=list(columns))


@TABLES.register("bits")
class BitsOnAxes(Table):
    """Table of outputs of few bits on axes of their own."""

    place = 90
    caption = """\
Quality of outputs whose documents take at most two bits per dimension, at the model's own signs and on axes that need no training –
centred at the mean or the median, rotated by ITQ, or a greater number of random ones – for each deployment and method; mean of the
tasks. ``fitted on`` names the data that an origin or a rotation was computed from: the searched corpus, training documents, or none.
A method is compared with the baseline on the same axes, fitted on the same data; the baseline and the untrained model are compared
with their own signs at 0. Intervals are computed by a bootstrap over queries and seeds, p-values by a permutation test over queries.
P-values are corrected (Holm) within each of the two questions: all comparisons of methods with the baseline, and all comparisons of
axes with the model's own axes. A mean over fewer tasks is marked: a corpus may have too few documents for ITQ.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has results for this table."""
        evaluate = study.evaluate
        if evaluate is None:
            return False
        planned = (output for kind in study.kinds.values() for output in outputs(evaluate, kind))
        return any(has_few_bits(output.described(1)) for output in planned)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        subject = "bits on axes of their own, beside axes that need no training"
        return f"{gathered.label}, mean of the tasks: {subject} ({gathered.judged}{gathered.with_seeds})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        axes = {axes.label: axes.words for axes in gathered.study.axes}
        return bits(gathered.on_all_axes, gathered.baseline, axes, gathered.varied)
