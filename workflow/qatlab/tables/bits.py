"""Tables of bits: outputs of few bits per dimension on several axes, and how many bits training changes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from qatlab.artifact import read_json
from qatlab.evaluation.outputs import FEW_BITS, FITTED_ON, has_few_bits, outputs
from qatlab.quantization.precisions import BITS, sides
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.differences import DIFFERENCE, JUDGED, judged, labels
from qatlab.tables.gathered import Figures, Form, mean_cell, paired, seed_means, statuses
from qatlab.tables.missing import FAILED, NOT_RUN, OK, WHOLE, Missing, cell, worst
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
        """Return whether the study scores an output whose documents take at most two bits per dimension."""
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


def trained_for_bits(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Return the methods that train for outputs of few bits per dimension, each with what it has seen: one of FITTED_ON.

    A head that was trained on embeddings of the searched corpus has seen the corpus, and every other training its training data.
    """
    seen = {}
    for run in runs:
        documents = [sides(precision)[1] for precision in run.trains_for]
        if run.head_fitted_on is not None or any(BITS[precision] <= FEW_BITS for precision in documents):
            seen[run.method] = "corpus" if run.head_fitted_on in ("corpus", "both") else "training"
    return seen


def against_strongest(
    query_scores: Figures, trained: Mapping[str, str], axes: Mapping[str, str], varied: list[str]
) -> pd.DataFrame:
    """Build a table with one row per method that trains for bits, deployment and output of at most two bits per dimension.

    The strongest baseline of a row has the largest mean among all variants of the other methods, on all axes, that have the same
    deployment and output, take at most as many bytes, and were fitted on no more than the method has seen. It is chosen on the
    queries on which it is compared, which favours it.

    Args:
        query_scores: the study's main metric for each query, on all axes.
        trained: methods that train for bits, each with what it has seen; see `trained_for_bits`.
        axes: descriptions of the study's axes by label.
        varied: columns of the matrix besides method and seed.
    """
    chosen = [form for form in query_scores if has_few_bits(query_scores.outputs[form])]
    rows, pairs = [], []
    for form in sorted(chosen, key=_sort_key(chosen, query_scores, axes)):
        if form.method not in trained or form.rotation != PLAIN:
            continue
        rivals = [
            other
            for other in chosen
            if other.method not in trained
            and other._replace(method=form.method, rotation=PLAIN, kernel=form.kernel) == form
            and _takes_no_more(other, form, query_scores)
            and FITTED_ON.index(query_scores.outputs[other]["fitted_on"]) <= FITTED_ON.index(trained[form.method])
            and paired(query_scores[form], query_scores[other])
        ]
        if not rivals:
            continue
        complete = [other for other in rivals if not np.isnan(_mean(other, query_scores))]
        best = max(complete, key=lambda other: _mean(other, query_scores)) if complete else rivals[0]
        pairs.append((form, best))
        rows.append(
            {
                **labels(form, varied),
                "has seen": trained[form.method],
                "bytes per document": _bytes_cell(form, query_scores),
                "value": mean_cell(query_scores, form),
                "strongest baseline": f"{best.method}, {_in_words(best, query_scores, axes)}",
                "its bytes": _bytes_cell(best, query_scores),
                "its value": mean_cell(query_scores, best),
            }
        )
    redundant = ["rotation", *(["integer kernel"] if len({form.kernel for form, _ in pairs} - {""}) < 2 else [])]
    table = pd.DataFrame(rows).drop(columns=redundant, errors="ignore")
    return pd.concat([table, judged(query_scores, pairs)], axis=1)


def _takes_no_more(form: Form, other: Form, query_scores: Figures) -> bool:
    """Return whether one variant takes at most as many bytes as another, or the bytes of one are unknown because its jobs failed."""
    own, bound = _bytes(form, query_scores), _bytes(other, query_scores)
    return own is None or bound is None or own <= bound


def _mean(form: Form, query_scores: Figures) -> float:
    """Return the mean over seeds and tasks; NaN where a seed or a task is missing."""
    return float(np.mean(list(seed_means(query_scores[form]).values())))


@TABLES.register("bits_strongest")
class AgainstStrongest(Table):
    """Table of methods that train for bits beside the strongest baseline that has seen no more and takes no more bytes."""

    place = 95
    caption = """\
Does training for bits pay? Each method that trains for outputs of at most two bits per dimension, less the strongest baseline at the
same output: the variant with the largest mean among all methods that do not train for bits, on all axes of the table of bits, that
takes at most as many bytes and was fitted on no more than the method has seen. A head that was trained on the searched corpus may be
compared with axes that were fitted on it; every other method with axes that were fitted on training documents, or on nothing. The
baseline is chosen on the queries on which it is compared, which favours it. Paired by query and seed; intervals by a bootstrap, p-values
corrected for all rows of the table (Holm).
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study scores outputs of few bits, of methods that train for them and of others."""
        trained = trained_for_bits(study.runs)
        return bool(trained) and {run.method for run in study.runs} > set(trained) and BitsOnAxes().wanted(study)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        subject = "methods that train for bits, less the strongest baseline that has seen no more"
        return f"{gathered.label}, mean of the tasks: {subject} ({gathered.over})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        axes = {axes.label: axes.words for axes in gathered.study.axes}
        return against_strongest(gathered.on_all_axes, trained_for_bits(gathered.runs), axes, gathered.varied)


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
        """Return whether the bits of a method other than the baseline are compared with the baseline's."""
        return any(entry.bit_changes for run in study.runs if run.method != study.baseline for entry in run.evaluations)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        deploy = compared_deployment(gathered.runs)
        subject = f"Share of the corpus's bits that differ from {gathered.baseline}'s of the same seed, in {deploy}"
        return f"{subject} ({gathered.over})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        return bits_changed(gathered.runs, gathered.results, gathered.baseline, gathered.missing)
