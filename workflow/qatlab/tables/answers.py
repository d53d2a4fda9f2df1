"""Comparisons that answer the question of a study, each with its confidence interval."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qatlab.study.record import AnswerConfig, StudyRecord
from qatlab.tables.differences import judged
from qatlab.tables.gathered import BySeed, Form, mean_cell, paired
from qatlab.tables.missing import OK, STATUS, cell, with_status, worst
from qatlab.tables.table import TABLES, Table

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


ANSWER_COLUMNS = ("comparison", "metric", "reference", "value", "difference or ratio", "95 % interval", "verdict")
COST = {  # label with unit, and the divisor that converts the column of cost.csv to this unit
    "peak_memory_bytes": ("peak memory (MB)", 1e6),
    "seconds_per_step": ("seconds per step", 1.0),
    "train_seconds": ("seconds of training", 1.0),
}
CONFIDENCE = 0.95
ALIKE = "alike"


def answers(
    comparisons: Sequence[AnswerConfig],
    query_scores: dict[Form, BySeed],
    cost: pd.DataFrame,
    varied: list[str],
    label: str,
    lower_is_better: bool = False,
) -> pd.DataFrame:
    """Build a table with one row for each comparison in `answers` of a study.

    A score is compared by its difference, and its p-value is corrected together with all others of the table. A cost is compared by
    its ratio, the geometric mean over seeds, with Student's t interval of its logarithm.

    Args:
        comparisons: `answers` of the study's description, with the names that apply at its scale.
        query_scores: the study's main metric for each query.
        cost: cost.csv.
        varied: columns of the matrix besides method and seed.
        label: name of the main metric in the column `metric`.
        lower_is_better: whether lower values of the main metric are better.

    Returns:
        The columns ANSWER_COLUMNS as formatted text; `reference` is what the method is compared against, `value` is the method's own.

    Raises:
        ValueError: if no run of the study has results for a comparison.
    """
    scored = [entry for entry in comparisons if entry.figure == "score"]
    pairs = [_forms(entry, query_scores, varied) for entry in scored]
    cells = iter(judged(query_scores, pairs, lower_is_better).to_dict("records"))
    forms = iter(pairs)
    rows = []
    for entry in comparisons:
        if entry.figure == "score":
            rows.append(_score_row(entry, next(forms), query_scores, label, next(cells)))
        else:
            rows.append(_cost_row(entry, cost))
    return pd.DataFrame(rows, columns=list(ANSWER_COLUMNS))


def _forms(entry: AnswerConfig, query_scores: dict[Form, BySeed], varied: list[str]) -> tuple[Form, Form]:
    ours = _form(entry, entry.method, entry.deploy, query_scores, varied)
    theirs = _form(entry, entry.against, entry.against_deploy or entry.deploy, query_scores, varied)
    return ours, theirs


def _form(entry: AnswerConfig, method: str, deploy: str, query_scores: dict[Form, BySeed], varied: list[str]) -> Form:
    candidates = [
        form for form in query_scores if (form.method, form.deploy) == (method, deploy) and form.rotation == "none"
    ]
    candidates = [form for form in candidates if form.output in (entry.precision, "text")]
    positions = {column.removeprefix("matrix."): at for at, column in enumerate(varied)}
    for key, value in entry.where.items():
        candidates = [form for form in candidates if str(form.varied[positions[key]]) == str(value)]
    if not candidates:
        where = ", ".join([method, deploy, entry.precision, *(f"{k}={v}" for k, v in entry.where.items())])
        raise ValueError(f"the study has no scores of {where}")
    return candidates[0]


def _score_row(
    entry: AnswerConfig, forms: tuple[Form, Form], query_scores: dict[Form, BySeed], label: str, cells: dict[Any, Any]
) -> dict[str, object]:
    ours, theirs = (mean_cell(query_scores, form) for form in forms)
    assert paired(query_scores[forms[0]], query_scores[forms[1]])
    return {
        **_comparison_label(entry),
        "metric": label,
        "reference": theirs,
        "value": ours,
        "difference or ratio": cells["difference"],
        "95 % interval": cells["95 % interval"],
        "verdict": cells["verdict"],
    }


def _cost_row(entry: AnswerConfig, cost: pd.DataFrame) -> dict[str, object]:
    cost = with_status(cost)
    known, trains = cost[entry.figure].notna(), cost["seed"].notna()
    trained = cost[known | (trains & cost[STATUS].ne(OK))].drop_duplicates("run")
    for key, value in entry.where.items():
        trained = trained[trained[f"matrix.{key}"].astype(str) == str(value)]
    sides = {"reference": entry.against, "value": entry.method}
    by_seed = {
        method: trained[trained["method"] == method].groupby("seed")[entry.figure].median() for method in sides.values()
    }
    ours, theirs = by_seed[entry.method], by_seed[entry.against]
    name_with_unit, unit = COST[entry.figure]
    of_pair = trained[trained["method"].isin([entry.method, entry.against])]
    status = worst(of_pair.loc[of_pair[entry.figure].isna(), STATUS])
    if status != OK:
        return {
            **_comparison_label(entry),
            "metric": name_with_unit,
            **{name: _cost_cell(of_pair, method, entry.figure, unit) for name, method in sides.items()},
            **dict.fromkeys(("difference or ratio", "95 % interval", "verdict"), status),
        }
    logs = np.log((ours / theirs).dropna().to_numpy(dtype=float))
    if not len(logs):
        raise ValueError(f"the study has no {entry.figure} of both {entry.method} and {entry.against}")
    low, high = _interval(logs)
    unsure = np.isnan(low) or low <= 1 <= high
    return {
        **_comparison_label(entry),
        "metric": name_with_unit,
        "reference": _three_digits(theirs.median() / unit),
        "value": _three_digits(ours.median() / unit),
        "difference or ratio": f"× {np.exp(logs.mean()):.3f}",
        "95 % interval": None if np.isnan(low) else f"{low:.3f} to {high:.3f}",
        "verdict": "not separable" if unsure else "more" if logs.mean() > 0 else "less",
    }


def _cost_cell(trained: pd.DataFrame, method: str, figure: str, unit: float) -> str:
    """Format the median over the seeds that have a value, and the number of seeds that lack one."""
    of_method = trained[trained["method"] == method]
    lacks = of_method[figure].isna()
    statuses = of_method[STATUS].where(lacks, OK)
    return cell("" if lacks.all() else _three_digits(of_method[figure].median() / unit), list(statuses))


def _three_digits(value: float) -> str:
    """Format a number with three significant digits, or as an integer from 1000: 0.0446, 44.6, 4391."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _interval(logs: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the geometric mean of exp(`logs`); NaN for a single seed."""
    if len(logs) < 2:
        return np.nan, np.nan
    from scipy import stats  # its import takes a second, and plans do not need it

    spread = stats.sem(logs)
    if spread == 0:
        return float(np.exp(logs[0])), float(np.exp(logs[0]))
    ends = stats.t.interval(CONFIDENCE, len(logs) - 1, loc=logs.mean(), scale=spread)
    return float(np.exp(ends[0])), float(np.exp(ends[1]))


def _comparison_label(entry: AnswerConfig) -> dict[str, str]:
    """Return the first cell of a row, e.g. 'baseline:int8 against baseline, onnx_int8, int8, data.rows=90000'."""
    deploys = [entry.deploy] if entry.deploy else []
    if entry.against_deploy:
        deploys = [f"{entry.deploy} against {entry.against_deploy}"]
    where = [f"{key}={value}" for key, value in entry.where.items()]
    precision = [] if entry.precision in ("float32", "") else [entry.precision]
    methods = entry.method if entry.method == entry.against else f"{entry.method} against {entry.against}"
    return {"comparison": ", ".join([methods, *deploys, *precision, *where])}


@TABLES.register("answers")
class Answers(Table):
    """Table of the comparisons that answer a study's question."""

    place = 10
    caption = """\
The comparisons that answer the question of the study. Scores are compared by their difference, with verdicts corrected for
all compared scores (Holm); costs of training by their ratio, with an interval over seeds.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study lists comparisons in `study.answers`."""
        return bool(study.answers)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table: the study's question."""
        question = gathered.study.question or gathered.study.title
        return f"{question} ({gathered.judged}; costs: over seeds)"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        return answers(
            gathered.study.answers,
            gathered.figures,
            gathered.cost,
            gathered.varied,
            gathered.label,
            gathered.lower_is_better,
        )
