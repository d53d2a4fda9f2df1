"""Bits on axes of their own: outputs of few bits a dimension, beside axes that need no training, and what they were fitted on."""

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
OWN = "its own axes"  # what these are called, for grids of more than a bit: bits there are signs at 0
Others = Mapping[Form, Form | None]


def bits(figures: Figures, baseline: str, axes: Mapping[str, str], varied: list[str]) -> pd.DataFrame:
    """A row per deployment, output of at most two bits a dimension, axes and method, in this order.

    A method is compared with the baseline at the same output on the same axes, so that both know as much of what is searched. The
    baseline, an untrained model, and a method without such a counterpart are compared with their own figures on the model's own
    axes, and the row says so.

    Args:
        figures: of the study's main metric, on all axes.
        baseline: the method that others are compared with.
        axes: what the study's axes are called in words, by label, in their order.
        varied: what else the matrix varies, as columns.
    """
    chosen = [form for form in figures if has_few_bits(figures.outputs[form])]
    forms = sorted(chosen, key=_place(chosen, figures, axes))
    others = {form: _other(form, figures, baseline) for form in forms}
    tasks = len({task for form in forms for by_task in figures[form].values() for task in by_task})
    rows = [
        {
            **labels(form, varied),
            "axes": _in_words(form, figures, axes),
            "fitted on": figures.outputs[form]["fitted_on"],
            "bytes per document": _bytes_cell(form, figures),
            "value": _value(form, figures, tasks),
            "compared with": _called(form, others[form], figures, axes),
        }
        for form in forms
    ]
    redundant = ["rotation", *(["integer kernel"] if len({form.kernel for form in forms} - {""}) < 2 else [])]
    table = pd.DataFrame(rows).drop(columns=redundant, errors="ignore")
    return pd.concat([table, _judged(figures, forms, others)], axis=1)


def _place(forms: Sequence[Form], figures: Figures, axes: Mapping[str, str]) -> Callable[[Form], tuple[float, ...]]:
    """What rows are sorted by; those alike, methods among them, stay in the study's order."""
    deploys, outputs = (list(dict.fromkeys(getattr(form, of) for form in forms)) for of in ("deploy", "output"))
    order = list(axes)

    def place(form: Form) -> tuple[float, ...]:
        size = _bytes(form, figures)
        known = np.inf if size is None else size
        return deploys.index(form.deploy), known, outputs.index(form.output), order.index(form.rotation)

    return place


def _bytes(form: Form, figures: Figures) -> float | None:
    """Bytes that a document takes. A form whose jobs have all failed takes what others take at the same output, if they agree."""
    own: float | None = figures.outputs[form]["doc_bytes"]
    if own is not None:
        return own
    alike = [other for other in figures if other[2:] == form._replace(kernel=other.kernel)[2:]]
    sizes = {figures.outputs[other]["doc_bytes"] for other in alike} - {None}
    return sizes.pop() if len(sizes) == 1 else None


def _bytes_cell(form: Form, figures: Figures) -> str:
    size = _bytes(form, figures)
    return worst(statuses(figures, form)) if size is None else f"{size:,.0f}"


def _value(form: Form, figures: Figures, tasks: int) -> str:
    """The mean of the tasks and of the seeds that have all of theirs, and what it lacks."""
    values = [mean for mean in seed_means(figures[form]).values() if not np.isnan(mean)]
    text = f"{np.mean(values):.4f}" if values else ""
    text += f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    own = len({task for by_task in figures[form].values() for task in by_task})
    return cell(text if own == tasks else f"{text} ({own} of {tasks} tasks)", statuses(figures, form))


def _other(form: Form, figures: Figures, baseline: str) -> Form | None:
    """What a form is compared with, if anything."""
    plain = form._replace(rotation=PLAIN)
    found = [plain] if plain != form else []
    if form.method != baseline and set(figures[form]) != {None}:  # an untrained model has no seed
        found.insert(0, form._replace(method=baseline))
    return next((other for other in found if other in figures and paired(figures[form], figures[other])), None)


def _in_words(form: Form, figures: Figures, axes: Mapping[str, str]) -> str:
    if form.rotation == PLAIN and BITS[figures.outputs[form]["doc_precision"]] > 1:
        return OWN
    return axes[form.rotation]


def _called(form: Form, other: Form | None, figures: Figures, axes: Mapping[str, str]) -> str | None:
    if other is None or other.method != form.method:
        return other and other.method
    words = _in_words(other, figures, axes)
    return words if words == OWN else f"its own {words}"


def _judged(figures: Figures, forms: Sequence[Form], others: Others) -> pd.DataFrame:
    """Compare each form with its counterpart: difference, interval, p-value and verdict; empty cells for a form without one.

    Methods against the baseline, and axes against the model's own, are two questions. P-values are corrected (Holm) within each.
    """
    columns = (DIFFERENCE, *JUDGED)
    rows: dict[Form, Mapping[Any, Any]] = {form: dict.fromkeys(columns) for form in forms}
    pairs = [(form, other) for form in forms if (other := others[form]) is not None]
    methods = [(form, other) for form, other in pairs if other.method != form.method]
    axes = [(form, other) for form, other in pairs if other.method == form.method]
    for family in (methods, axes):
        for (form, _), cells in zip(family, judged(figures, family).to_dict("records"), strict=True):
            rows[form] = cells
    return pd.DataFrame(list(rows.values()), columns=list(columns))


@TABLES.register("bits")
class BitsOnAxes(Table):
    """Table of outputs of few bits on axes of their own."""

    place = 90
    caption = """\
What bits are worth on axes of their own: every output whose documents take at most two bits a dimension, at its own signs and on axes
that need no training – centred at the mean or the median, rotated by ITQ, or random ones in greater number – for each deployment and
method; mean of the tasks. ``fitted on`` says what an origin or a rotation was computed from: the searched corpus, training documents,
or nothing. A method is compared with the baseline on the same axes, which know as much of the corpus; the baseline and the untrained
model are compared with their own signs at 0. Intervals are by a bootstrap over queries and seeds, p-values by a permutation test over
queries. They are corrected (Holm) within each of the two questions: all comparisons of methods with the baseline, and all comparisons of
axes with a model's own. A figure of fewer tasks says so: a corpus may have too few documents for ITQ.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
        evaluate = study.evaluate
        if evaluate is None:
            return False
        scored = (made for kind in study.kinds.values() for made in outputs(evaluate, kind))
        return any(has_few_bits(made.described(1)) for made in scored)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        what = "bits on axes of their own, beside axes that need no training"
        return f"{gathered.label}, mean of the tasks: {what} ({gathered.judged}{gathered.with_seeds})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        axes = {axes.label: axes.words for axes in gathered.study.axes}
        return bits(gathered.on_all_axes, gathered.baseline, axes, gathered.varied)
