"""Recommendation of a study: the sentences of its conclusion, the models that it offers to ship, and the table of these offers."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qatlab.config.evaluate import COMPAT
from qatlab.evaluation.outputs import outputs
from qatlab.statistics import BETTER, NOT_SEPARABLE, WORSE, Verdict, needed, verdicts
from qatlab.study.record import GRADES, Conclusion, Grade, Offer, StudyRecord
from qatlab.tables import missing
from qatlab.tables.differences import is_float, pairs_with_baseline, pairs_with_float, tested, would_take
from qatlab.tables.engine_offers import MeasuredEngines
from qatlab.tables.gathered import Form
from qatlab.tables.loading import loading
from qatlab.tables.names import TEXT
from qatlab.tables.pareto import Variant, best_float, choose, complete_forms, mean_of, model_size, runs_of, variants
from qatlab.tables.table import TABLES, Table
from qatlab.tables.wide import VARIED_PREFIX

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


@lru_cache(maxsize=1)  # the stage and the table show the same one
def conclude(gathered: "Gathered") -> Conclusion:
    """Return the conclusion of a study, also of one with missing results or without quantized outputs."""
    study, reference = gathered.study, best_float(gathered)
    incomplete = missing.incomplete_runs(gathered.runs, gathered.missing)
    gaps = (
        [f"Results are missing ({missing.in_words(incomplete)}); the conclusion is about the others."]
        if incomplete
        else []
    )
    if reference is None:
        return Conclusion(
            metric=gathered.label,
            budget=study.budget,
            reference="",
            reference_value=None,
            sentences=_without_float(study),
            undecided=" ".join(gaps) or None,
            complete=not incomplete,
        )
    value = mean_of(gathered.on_all_axes[reference])
    shipped = variants(gathered, reference)
    chosen = _chosen(shipped, study.budget * value, gathered.lower_is_better)
    balanced = chosen.get("balanced")
    doubts = _undecided(gathered, shipped, balanced, value)
    return Conclusion(
        metric=gathered.label,
        budget=study.budget,
        reference=in_words(reference),
        reference_value=value,
        sentences=(*findings(gathered, reference, shipped), _recommended(gathered, balanced, reference, value)),
        offers=tuple(_offers(gathered, chosen, value)),
        undecided=" ".join([*doubts, *gaps]) or None,
        complete=not incomplete,
    )


def _chosen(shipped: Sequence[Variant], most: float, lower_is_better: bool) -> dict[Grade, Variant]:
    """Return the offer of each grade; none where the best float result is not positive, of which no share can be taken."""
    if most <= 0:
        return {}
    offers = {grade: choose(shipped, times * most, lower_is_better) for grade, times in GRADES.items()}
    return {grade: variant for grade, variant in offers.items() if variant is not None}


def _offers(gathered: "Gathered", chosen: Mapping[Grade, Variant], value: float) -> Iterator[Offer]:
    # Corrected as if all other comparisons had p-values of 1, so that a verdict is not due to the number of variants.
    forms = {variant.form: variant.differences for variant in chosen.values()}
    judged = verdicts(list(forms.values()), gathered.lower_is_better, len(complete_forms(gathered)))
    words = dict(zip(forms, (verdict.word for verdict in judged), strict=True))
    engines = MeasuredEngines(gathered)
    for grade, variant in chosen.items():
        yield _offer(gathered, grade, variant, words[variant.form], value, engines)


def _offer(
    gathered: "Gathered", grade: Grade, variant: Variant, verdict: str, value: float, engines: MeasuredEngines
) -> Offer:
    form, output = variant.form, gathered.on_all_axes.outputs[variant.form]
    run = runs_of(gathered.runs, form)[0]
    entry = next(entry for entry in run.evaluations if entry.deploy == form.deploy and entry.score is not None)
    return Offer(
        grade=grade,
        run=run.name,
        method=form.method,
        varied={key.removeprefix(VARIED_PREFIX): entry for key, entry in run.varied.items()},
        deploy=form.deploy,
        rotation=form.rotation,
        output=form.output,
        scoring=output["scoring"],
        doc_bytes=variant.doc_bytes,
        model_bytes=variant.model_bytes,
        texts_per_second=variant.texts_per_second,
        value=variant.value,
        loss=variant.loss,
        low=variant.low,
        high=variant.high,
        relative=variant.loss / value,
        relative_high=variant.high / value,
        verdict=verdict,
        load=loading(gathered.study, run, entry, output, gathered.results),
        engine=engines.offer(form, output),
    )


# The sentences of the conclusion, in plain English with numbers and intervals.
#
# What quantization costs and whether a recipe wins it back are comparisons of the tables against_float and against_baseline, with
# their intervals and verdicts.


def findings(gathered: "Gathered", reference: Form, shipped: Sequence[Variant]) -> tuple[str, str]:
    """Return what quantization costs the baseline, and whether a recipe wins it back.

    Each sentence is about the baseline's embeddings at the fewest bytes per document, and about its smallest file with quantized weights.

    Args:
        gathered: the results of the study.
        reference: the best float result, whose method stands in for a baseline without float results.
        shipped: all variants that can be shipped.
    """
    figures, study = gathered.figures, gathered.study
    plain = [form for form in complete_forms(gathered) if is_float(form, study.float_deployment)]
    own = [form for form in plain if form.method == study.baseline] or [reference]
    sign = -1 if gathered.lower_is_better else 1
    subject = max(own, key=lambda form: sign * mean_of(figures[form]))
    quantized = _quantized(study, subject, shipped)
    pairs = pairs_with_float(figures, study.float_deployment)
    costs = dict(zip(pairs, tested(figures, pairs, gathered.lower_is_better), strict=True))
    clauses = [
        f"{how} {_cost(verdict, mean_of(figures[subject]), gathered)}"
        for form, (how, _) in quantized.items()
        if (verdict := costs.get((form, subject))) is not None
    ]
    cost = _capital("; ".join(clauses)) if clauses else "Nothing that is quantized has results to compare with float's"
    sizes = {variant.form: variant.doc_bytes for variant in shipped}
    return f"{cost}.", _won_back(gathered, subject, {form: where for form, (_, where) in quantized.items()}, sizes)


def _quantized(study: StudyRecord, subject: Form, shipped: Sequence[Variant]) -> dict[Form, tuple[str, str]]:
    """Return the variants of a float model of which the sentences speak, each with what is done and with where it is compared."""
    own = {variant.form: variant for variant in shipped if variant.form[:2] == subject[:2]}
    own = {form: variant for form, variant in own.items() if form.rotation == "none"}
    forms: dict[Form, tuple[str, str]] = {}
    stored = [form for form in own if form.deploy == subject.deploy and form.output != subject.output]
    if stored:  # where bytes are equal, embeddings of one precision come before pairs of precisions
        form = min(stored, key=lambda form: (own[form].doc_bytes, "×" in form.output))
        size = f"{own[form].doc_bytes:,} of {own[subject].doc_bytes:,} bytes per document"
        forms[form] = (f"storing embeddings of {_method(form)} as {form.output} ({size})", f"at {form.output}")
    files = [form for form in own if form.deploy in study.quantized and form.output == subject.output]
    files = [form for form in files if form.deploy != subject.deploy]
    if files:
        form = min(files, key=lambda form: model_size(own[form]))
        size = _megabytes(own[form].model_bytes, own[subject].model_bytes)
        forms[form] = (f"shipping {'it' if forms else _method(form)} as `{form.deploy}`{size}", f"as `{form.deploy}`")
    return forms


def _megabytes(part: int | None, whole: int | None) -> str:
    return "" if part is None or whole is None else f" ({part / 1e6:,.1f} of {whole / 1e6:,.1f} MB)"


def _cost(verdict: Verdict, value: float, gathered: "Gathered") -> str:
    """Return what a quantized variant costs: "costs 0.0432 nDCG@10 (95 % interval 0.0328 to 0.0539), 5.3 % of float's 0.8183"."""
    if verdict.word == NOT_SEPARABLE:
        return f"changes {gathered.label} by {_signed(verdict)}, not separable from 0{_corrected(verdict)}"
    sign = 1 if gathered.lower_is_better else -1
    loss, (low, high) = sign * verdict.difference, sorted((sign * verdict.low, sign * verdict.high))
    if loss < 0:
        return f"improves {gathered.label} by {-loss:.4f} ({interval_in_words(-high, -low)}) over float's {value:.4f}"
    share = f", {100 * loss / value:.2g} % of float's {value:.4f}" if value > 0 else ""
    return f"costs {loss:.4f} {gathered.label} ({interval_in_words(low, high)}){share}"


def _won_back(
    gathered: "Gathered", subject: Form, quantized: Mapping[Form, str], sizes: Mapping[Form, int | None]
) -> str:
    """Return whether a recipe scores better than the baseline where it is quantized.

    Recipes whose embeddings take more bytes than the baseline's are named after the others, if they are better.

    Args:
        gathered: the results of the study.
        subject: the baseline's float result.
        quantized: variants of the baseline, each with where it is compared.
        sizes: bytes per document of each variant.
    """
    study, figures = gathered.study, gathered.figures
    if subject.method != study.baseline:
        return f"The baseline `{study.baseline}` has no float results, so no recipe is compared with it."
    recipes = {run.method for run in gathered.runs if run.trains} - {study.baseline}
    if not quantized:
        return "There is no loss by quantization that a recipe could win back."
    if not recipes:
        return f"No recipe is compared with `{study.baseline}`: the study trains no other."
    pairs = pairs_with_baseline(figures, study.baseline)
    verdicts_of = dict(zip(pairs, tested(figures, pairs, gathered.lower_is_better), strict=True))
    clauses = []
    for form, where in quantized.items():
        of_recipes = {
            other: verdict
            for (other, baseline), verdict in verdicts_of.items()
            if baseline == form and other.method in recipes and verdict is not None
        }
        size = sizes.get(form)
        larger = [other for other in of_recipes if size is not None and (sizes.get(other) or 0) > size]
        alike = {other.method: verdict for other, verdict in of_recipes.items() if other not in larger}
        if alike:
            clauses.append(_best_recipe(alike, where, study.baseline, gathered.lower_is_better))
        clauses += [
            f"with {sizes[other]:,} bytes per document instead of {size:,}, `{other.method}` beats `{study.baseline}` {where}: "
            f"{_signed(of_recipes[other])}"
            for other in larger
            if of_recipes[other].word == BETTER
        ]
    return _capital("; ".join(clauses)) + "." if clauses else "No recipe has results where the baseline is quantized."


def _best_recipe(of_recipes: Mapping[str, Verdict], where: str, baseline: str, lower_is_better: bool) -> str:
    sign = -1 if lower_is_better else 1
    method, verdict = max(of_recipes.items(), key=lambda entry: sign * entry[1].difference)
    better = {name: judged for name, judged in of_recipes.items() if judged.word == BETTER}
    if better:
        method, verdict = max(better.items(), key=lambda entry: sign * entry[1].difference)
        more = f" (and {len(better) - 1} more)" if len(better) > 1 else ""
        return f"`{method}`{more} beats `{baseline}` {where}: {_signed(verdict)}"
    worse = sum(judged.word == WORSE for judged in of_recipes.values())
    if worse == len(of_recipes):
        return f"every recipe is worse than `{baseline}` {where}; the least is `{method}`, {_signed(verdict)}"
    others = f" ({worse} of {len(of_recipes)} are worse)" if worse else ""
    comparison = "better than" if worse else "separable from"
    best = f"the best is `{method}`, {_signed(verdict)}{_corrected(verdict)}"
    return f"no recipe is {comparison} `{baseline}` {where}{others}; {best}"


def _without_float(study: StudyRecord) -> tuple[str, str, str]:
    plain = f"float results of `{study.float_deployment}`"
    return (
        f"What quantization costs is unknown: the study has no complete {plain}.",
        "Whether a recipe wins it back is unknown, too.",
        "Nothing is recommended; run what has failed, or add float32 to evaluate.precisions and none to evaluate.rotations.",
    )


def _recommended(gathered: "Gathered", offer: Variant | None, reference: Form, value: float) -> str:
    """Return the recommendation: the balanced offer, or that nothing smaller than the best float result qualifies."""
    within = f"the study's budget of {percent_in_words(gathered.study.budget)}"
    if offer is None:
        return f"Nothing is recommended: the best float result is {number_in_words(value)}, of which no share can be taken."
    form = offer.form
    sizes = [
        *([f"{offer.doc_bytes:,} bytes per document"] if offer.doc_bytes else []),
        *([f"a model of {offer.model_bytes / 1e6:,.1f} MB"] if offer.model_bytes is not None else []),
        *([f"{offer.texts_per_second:,.0f} texts per second"] if offer.texts_per_second is not None else []),
    ]
    ship = f"{in_words(form)} ({', '.join(sizes)})"
    if form == reference:
        return f"Ship {ship}: nothing smaller is shown to stay within {within} of its {gathered.label} of {value:.4f}."
    compared = (
        f"{abs(offer.loss):.4f} {'worse' if offer.loss >= 0 else 'better'} than the best float result's {value:.4f}"
    )
    return (
        f"Ship {ship}: its {gathered.label} of {offer.value:.4f} is {compared}, and {bound_in_words(offer.high)} by its simultaneous "
        f"95 % interval, which is within {within}."
    )


def _undecided(gathered: "Gathered", shipped: Sequence[Variant], offer: Variant | None, value: float) -> list[str]:
    """Return what is undecided: the smallest variant whose loss is within the budget, but not its interval, and what it takes."""
    if offer is None:
        return []
    most = gathered.study.budget * value
    doubtful = [v for v in shipped if not v.high <= most and not v.loss > most and _size(v) < _size(offer)]
    if not doubtful:
        return []
    variant = min(doubtful, key=lambda variant: (_size(variant), variant.loss))
    sign = 1 if gathered.lower_is_better else -1
    loss = f"the loss of {in_words(variant.form)}{_bytes(variant)}"
    claim = f"Whether {loss} is at most {percent_in_words(gathered.study.budget)} is undecided"
    if np.isnan(variant.high):
        return [f"{claim}: one query and one seed have no interval."]
    takes = needed([sign * task - most for task in variant.differences])
    interval = f"{percent_in_words(variant.low / value)} to {percent_in_words(variant.high / value)}"
    return [
        f"{claim}: it is {percent_in_words(variant.loss / value)} (simultaneous 95 % interval {interval}); "
        f"a comparison of this variant alone would take {would_take(takes)}."
    ]


def _size(variant: Variant) -> tuple[float, float]:
    return variant.doc_bytes, model_size(variant)


def _bytes(variant: Variant) -> str:
    return f" ({variant.doc_bytes:,} bytes per document)" if variant.doc_bytes else ""


def _method(form: Form) -> str:
    """Return "`baseline`", followed by the values of the matrix's other keys, if there are any."""
    varied = ", ".join(str(value) for value in form.varied if value not in ("", None))
    return f"`{form.method}`" + (f" ({varied})" if varied else "")


def in_words(form: Form) -> str:
    """Return what a variant ships: "binary embeddings of `baseline` as `torch_fp32`, on the axes itq"."""
    shipped = f"{_method(form)} as `{form.deploy}`"
    axes = "" if form.rotation == "none" else f", on the axes {form.rotation}"
    return shipped if form.output == TEXT else f"{form.output} embeddings of {shipped}{axes}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def number_in_words(value: float, sign: str = "") -> str:
    """Format a number with four decimals and a true minus; with a sign "+", also positive numbers have one."""
    return f"{round(value, 4) + 0.0:{sign}.4f}".replace("-", "−")


def interval_in_words(low: float, high: float, confidence: float = 0.95) -> str:
    """Return "95 % interval −0.0015 to +0.0095"; only an interval that reaches below 0 has signs."""
    if np.isnan(low):
        return "no interval from one query"
    sign = "+" if low < 0 else ""
    return f"{100 * confidence:.4g} % interval {number_in_words(low, sign)} to {number_in_words(high, sign)}"


def bound_in_words(loss: float) -> str:
    """Return the upper end of a loss's interval: "at most 0.0079 worse", or "at least 0.0020 better" for a negative one."""
    return f"at most {loss:.4f} worse" if loss >= 0 else f"at least {-loss:.4f} better"


def _signed(verdict: Verdict) -> str:
    return f"{number_in_words(verdict.difference, '+')} ({interval_in_words(verdict.low, verdict.high)})"


def _corrected(verdict: Verdict) -> str:
    """Return the p-value of a difference that is not separable although its interval excludes 0, which needs an explanation."""
    excludes_zero = verdict.low > 0 or verdict.high < 0
    is_surprising = verdict.word == NOT_SEPARABLE and excludes_zero
    return f" (p = {verdict.p:.3f}, corrected for all comparisons)" if is_surprising else ""


def percent_in_words(share: float) -> str:
    """Return a share as a percentage of three digits: "0.2 %"."""
    return f"{100 * share:.3g} %".replace("-", "−")


def choice_to_make(study: StudyRecord) -> bool:
    """Return whether a study has more than one variant to ship."""
    if study.evaluate is None:
        return len(study.deployments) > 1
    return len(study.deployments) * len([o for o in outputs(study.evaluate) if o.scoring not in COMPAT]) > 1


@TABLES.register("recommendation")
class Recommendation(Table):
    """Table of what to ship, in three grades."""

    place = 5
    caption = """\
What to ship: of everything that was scored and can be deployed, the variant with the fewest bytes (per document, then of the model,
then the fastest) whose loss against the best float result is within a bound at the upper end of its interval. The bound is the study's
budget (``study.budget``) for the grade balanced, a fifth of it for safest, and five times it for smallest; the best float result itself
is offered where nothing smaller qualifies. The 95 % intervals are simultaneous: all variants' intervals cover at once, so that choosing
among them does not make them too narrow. ``conclusion.json`` has their texts per second, and the code that loads each; where
engines were measured, also the engine configuration that realizes it.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has more than one variant to ship."""
        return choice_to_make(study)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        conclusion = conclude(gathered)
        best = "the best float result"
        if conclusion.reference_value is not None:
            best += f", {conclusion.reference_value:.4f} of {conclusion.reference.replace('`', '')}"
        rule = f"the fewest bytes within a bound on the loss of {gathered.label}"
        return f"What to ship: {rule} against {best} (simultaneous {gathered.judged})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return one row per grade; the status of missing results, or "none", where a grade has no offer."""
        conclusion = conclude(gathered)
        nothing = missing.worst(run.status for run in missing.incomplete_runs(gathered.runs, gathered.missing))
        rows = []
        for grade, times in GRADES.items():
            offer, bound = conclusion.offer(grade), percent_in_words(times * conclusion.budget).replace("−", "-")
            cells = (
                _cells(offer, gathered)
                if offer
                else dict.fromkeys(_columns(gathered), nothing if nothing != missing.OK else "none")
            )
            rows.append({"grade": grade, "loses at most": bound, **cells})
        return pd.DataFrame(rows)


def _columns(gathered: "Gathered") -> list[str]:
    study = gathered.study
    stores = study.evaluate is not None
    return [
        "method",
        *gathered.varied,
        "deploy",
        *(["rotation"] if len(study.axes) > 1 else []),
        *(["output precision", "bytes per document"] if stores else []),
        "model (MB)",
        gathered.label,
        "loss",
        "95 % interval",
        "share of float's",
        "verdict",
    ]


def _cells(offer: Offer, gathered: "Gathered") -> dict[str, object]:
    cells = {
        "method": offer.method,
        **{f"{VARIED_PREFIX}{key}": "any" if value == "" else value for key, value in offer.varied.items()},
        "deploy": offer.deploy,
        "rotation": offer.rotation,
        "output precision": offer.output,
        "bytes per document": f"{offer.doc_bytes:,}",
        "model (MB)": None if offer.model_bytes is None else f"{offer.model_bytes / 1e6:,.1f}",
        gathered.label: f"{offer.value:.4f}",
        "loss": f"{offer.loss:+.4f}",
        "95 % interval": f"{offer.low:+.4f} to {offer.high:+.4f}",
        "share of float's": f"{100 * offer.relative:+.2f} %",
        "verdict": offer.verdict,
    }
    return {column: cells[column] for column in _columns(gathered)}
