"""Command gate: an exit code for continuous integration that says whether what is shipped loses too much against the best float result."""

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from qatlab.errors import UserError, unknown
from qatlab.evaluation.outputs import SCORES_FILE as SCORES
from qatlab.evaluation.outputs import planned_scores
from qatlab.job import JobDescription
from qatlab.statistics import bootstrap_intervals
from qatlab.study.record import CONCLUSION_FILE, StudyRecord, read_conclusion
from qatlab.tables.gathered import Figures, Form, Gathered, paired
from qatlab.tables.labels import FLOAT
from qatlab.tables.missing import NOT_RUN, Missing, MissingArtifact
from qatlab.tables.names import TEXT
from qatlab.tables.pareto import best_float, mean_of
from qatlab.tables.recommendation import in_words, interval_in_words, number_in_words, percent_in_words

PASSES, WORSE, UNKNOWN = 0, 1, 3
WORDS = {PASSES: "passes", WORSE: "worse", UNKNOWN: "undecided"}


@dataclass(frozen=True)
class Limit:
    """Largest loss: a share of the best float result, or in units of the metric."""

    value: float
    relative: bool

    def against(self, best: float) -> float:
        """Return the limit in units of the metric."""
        return self.value * best if self.relative else self.value

    def __str__(self) -> str:
        return percent_in_words(self.value) if self.relative else f"{self.value:g}"


def main(arguments: list[str]) -> int:
    """Print one line of reason, and return 0 if the loss is within the limit, 1 if it is above, 3 if the results cannot tell."""
    options = _options(arguments)
    study = _record(options.results, options.study)
    limit = Limit(study.budget, relative=True) if options.max_loss is None else _limit(options.max_loss)
    confidence = _confidence(options.confidence)
    gathered = Gathered(study, options.results, missing=_missing(study, options.results))
    reference = best_float(gathered)
    if reference is None:
        return _say(UNKNOWN, f"the study has no complete float results in `{study.float_deployment}` to compare with")
    forms = _named(gathered.on_all_axes, study, options) or _recommended(
        gathered, options.results / "studies" / study.name
    )
    if not forms:
        return _say(
            UNKNOWN, "the study recommends nothing; name what is shipped with --method, --deploy and --precision"
        )
    judged = [judge(gathered, form, reference, limit, confidence) for form in forms]
    return _say(*min(judged, key=lambda entry: (WORSE, UNKNOWN, PASSES).index(entry[0])))


def judge(gathered: Gathered, form: Form, reference: Form, limit: Limit, confidence: float) -> tuple[int, str]:
    """Return the exit code for one variant, and the reason.

    The loss is paired by query and seed; its interval is that of this comparison alone. It passes if the upper end is at most the
    limit, and it is worse if the lower end is above the limit.

    Args:
        gathered: the results of the study.
        form: the variant that is shipped.
        reference: the best float result.
        limit: the largest loss.
        confidence: nominal coverage of the interval.
    """
    figures, name = gathered.on_all_axes, in_words(form)
    gaps = figures.gaps.get(form)
    if gaps:
        return UNKNOWN, f"{name}: {len(gaps)} of {len(figures[form])} seeds have no scores; run the study to its end"
    if any(set(of_seed) != set(gathered.metrics) for of_seed in figures[form].values()):
        return UNKNOWN, f"{name} has no scores of some tasks"
    differences = paired(figures[form], figures[reference])
    if not differences:
        return UNKNOWN, f"{name} shares no seed with the best float result, {in_words(reference)}"
    best, sign = mean_of(figures[reference]), 1 if gathered.lower_is_better else -1
    losses = [sign * task for task in differences]
    if limit.relative and best <= 0:
        return (
            UNKNOWN,
            f"the best float result is {best:.4f}, of which no share can be taken; give --max-loss as a number",
        )
    (low,), (high,) = bootstrap_intervals([task[None] for task in losses], confidence)
    loss, most = float(np.mean([task.mean() for task in losses])), limit.against(best)
    interval = interval_in_words(float(low), float(high), confidence)
    reason = f"the loss of {name} is {number_in_words(loss)} of {best:.4f} {gathered.label} ({interval}); at most {limit} is allowed"
    reason += f", which is {most:.4f}" if limit.relative else ""
    if math.isnan(high):
        return UNKNOWN, reason
    return (PASSES if high <= most else WORSE if low > most else UNKNOWN), reason


def _say(code: int, reason: str) -> int:
    print(f"{WORDS[code]}: {reason}")
    return code


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="qatlab gate",
        description="Judge what a finished study's models lose as they are shipped, for continuous integration. Exit code 0: the loss "
        "against the study's best float result is within the limit at the upper end of its interval; 1: it is above the limit at the "
        "lower end; 3: the results cannot tell; 2: a mistake in the options.",
        epilog="Name what you ship: `qatlab gate NAME --deploy onnx_int8 --precision int8`. Options that are left out mean the study's "
        "baseline, its float deployment, and float32. Without any of them, the study's own balanced recommendation is judged, which "
        "changes with the study.",
    )
    parser.add_argument("study", help="name of the study")
    parser.add_argument(
        "--max-loss",
        metavar="LOSS",
        help="largest loss, as a share of the best float result (1%%) or in units of the metric (0.01); default: study.budget",
    )
    parser.add_argument("--confidence", default="95%", metavar="SHARE", help="coverage of the interval (default: 95%%)")
    parser.add_argument("--method", help="method of the shipped model")
    parser.add_argument("--deploy", help="deployment in which it is shipped")
    parser.add_argument(
        "--precision", help="output precision of its embeddings, as tables name it: int8, 'float32 × binary'"
    )
    parser.add_argument("--axes", help="axes of its embeddings, as tables name them: itq (default: none)")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="value of another key of the study's matrix; may be repeated. All that match must pass",
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of the results (default: results)"
    )
    options: argparse.Namespace = parser.parse_args(arguments)
    return options


def _record(results: Path, name: str) -> StudyRecord:
    file = results / "plan" / "study" / f"{name}.json"
    if not file.is_file():
        planned = [path.stem for path in (results / "plan" / "study").glob("*.json")]
        if not planned:
            raise UserError(f"--results: '{results}' holds no study; run one, or give the folder of the results")
        raise unknown("study", name, planned)
    try:
        return StudyRecord.model_validate(JobDescription.read(file).config)
    except ValidationError:
        raise UserError(f"{file} is of another version of qatlab; run the study again") from None


def _number(text: str, option: str) -> tuple[float, bool]:
    """Return the number of an option, and whether it is a percentage, which is returned as a share."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(%?)", text.strip())
    if match is None:
        raise UserError(
            f"{option} takes a percentage or a number that is not negative, such as 1% or 0.01, not '{text}'"
        )
    is_percentage = match.group(2) == "%"
    return float(match.group(1)) / (100 if is_percentage else 1), is_percentage


def _limit(text: str) -> Limit:
    return Limit(*_number(text, "--max-loss"))


def _confidence(text: str) -> float:
    share, _ = _number(text, "--confidence")
    if not 0 < share < 1:
        raise UserError(f"--confidence is a share between 0 and 1, such as 95% or 0.95, not '{text}'")
    return share


def _missing(study: StudyRecord, results: Path) -> Missing:
    """Return the artifacts without which scores cannot be read: those that are not in the results folder."""
    missing: dict[str, MissingArtifact] = {}
    for run in study.runs:
        for entry in run.evaluations:
            if not (results / entry.encode / "machine.json").is_file():
                missing[entry.encode] = MissingArtifact(status=NOT_RUN)
            if entry.score is not None and not (results / entry.score / SCORES).is_file():
                kind = study.kinds[entry.task]
                rows = tuple(planned_scores(study.evaluate, kind))
                missing[entry.score] = MissingArtifact(status=NOT_RUN, kind=kind, figures=rows)
    return Missing(missing)


def _named(figures: Figures, study: StudyRecord, options: argparse.Namespace) -> list[Form]:
    """Return the variants that the options name; an empty list if they name nothing.

    Raises:
        UserError: for a name that the study does not have, and for names that no variant has together.
    """
    names = (options.method, options.deploy, options.precision, options.axes)
    if not any(names) and not options.where:
        return []
    plain = TEXT if study.evaluate is None else FLOAT
    chosen = {
        "method": options.method or study.baseline,
        "deploy": options.deploy or study.float_deployment,
        "output": options.precision or plain,
        "rotation": options.axes or "none",
    }
    words = {"method": "method", "deploy": "deployment", "output": "precision", "rotation": "axes"}
    methods = sorted({form.method for form in figures})
    if options.method is None and study.baseline not in methods:
        raise UserError(
            f"the study has no method '{study.baseline}'; name what is shipped with --method: {', '.join(methods)}"
        )
    for field, name in chosen.items():
        names_of_field = {str(getattr(form, field)) for form in figures}
        if name not in names_of_field:
            raise unknown(words[field], name, names_of_field)
    matching = [form for form in figures if all(getattr(form, field) == name for field, name in chosen.items())]
    matching = _where(matching, study, options.where)
    if not matching:
        raise UserError(f"the study has no scores of {', '.join([*chosen.values(), *options.where])} together")
    return matching


def _where(forms: Sequence[Form], study: StudyRecord, pairs: Sequence[str]) -> list[Form]:
    """Return the variants with the given values of other keys of the matrix."""
    keys = [column.removeprefix("matrix.") for column in study.runs[0].varied]
    matching = list(forms)
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise UserError(f"--where takes KEY=VALUE, not '{pair}'")
        if key not in keys:
            raise unknown("key of the matrix", key, keys)
        values = {str(form.varied[keys.index(key)]) for form in matching}
        matching = [form for form in matching if str(form.varied[keys.index(key)]) == value]
        if not matching:
            raise unknown(f"value of {key}", value, values)
    return matching


def _recommended(gathered: Gathered, folder: Path) -> list[Form]:
    """Return the variant of the study's balanced offer, in one entry per integer kernel; an empty list if there is none."""
    if not (folder / CONCLUSION_FILE).is_file():
        raise UserError(
            f"{folder / CONCLUSION_FILE} does not exist; run the study, or name what is shipped with --deploy and --precision"
        )
    offer = read_conclusion(folder).offer("balanced")
    if offer is None:
        return []
    named = (offer.method, tuple(map(str, offer.varied.values())), offer.deploy, offer.rotation, offer.output)
    return [
        form
        for form in gathered.on_all_axes
        if (form.method, tuple(map(str, form.varied)), form.deploy, form.rotation, form.output) == named
    ]
