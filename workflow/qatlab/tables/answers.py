"""What a study was made to find out: each comparison that answers its question, with its interval."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qatlab.study.record import AnswerConfig, StudyRecord
from qatlab.tables.differences import judged
from qatlab.tables.missing import OK, STATUS, cell, with_status, worst
from qatlab.tables.per_query import BySeed, Form, mean_cell, paired
from qatlab.tables.table import TABLES, Table

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


ANSWER_COLUMNS = ("asked of", "figure", "theirs", "ours", "difference or ratio", "95 % interval", "verdict")
COST = {  # what a cost is called, in which unit, and how many of the column's make one
    "peak_memory_bytes": ("peak memory (MB)", 1e6),
    "seconds_per_step": ("seconds per step", 1.0),
    "train_seconds": ("seconds of training", 1.0),
}
CONFIDENCE = 0.95
ALIKE = "alike"


def answers(
    asked: Sequence[AnswerConfig],
    figures: dict[Form, BySeed],
    cost: pd.DataFrame,
    varied: list[str],
    label: str,
    lower_is_better: bool = False,
) -> pd.DataFrame:
    """A row for each comparison that a study's `answers` name.

    A score is compared by its difference, which is judged with all others of the table; a cost by its ratio, the geometric mean
    over seeds, whose interval is Student's of its logarithm.

    Args:
        asked: of the study's description, with names as they are at its scale.
        figures: of the study's main metric.
        cost: cost.csv.
        varied: what else the matrix varies.
        label: what the main metric is called.
        lower_is_better: whether it is a cost.

    Raises:
        ValueError: for a comparison that the study's runs do not have.
    """
    scored = [entry for entry in asked if entry.figure == "score"]
    pairs = [_forms(entry, figures, varied) for entry in scored]
    cells = iter(judged(figures, pairs, lower_is_better).to_dict("records"))
    forms = iter(pairs)
    rows = []
    for entry in asked:
        if entry.figure == "score":
            rows.append(_score_row(entry, next(forms), figures, label, next(cells)))
        else:
            rows.append(_cost_row(entry, cost))
    return pd.DataFrame(rows, columns=list(ANSWER_COLUMNS))


def _forms(entry: AnswerConfig, figures: dict[Form, BySeed], varied: list[str]) -> tuple[Form, Form]:
    ours = _form(entry, entry.method, entry.deploy, figures, varied)
    theirs = _form(entry, entry.against, entry.against_deploy or entry.deploy, figures, varied)
    return ours, theirs


def _form(entry: AnswerConfig, method: str, deploy: str, figures: dict[Form, BySeed], varied: list[str]) -> Form:
    found = [form for form in figures if (form.method, form.deploy) == (method, deploy) and form.rotation == "none"]
    found = [form for form in found if form.output in (entry.precision, "text")]
    places = {column.removeprefix("matrix."): at for at, column in enumerate(varied)}
    for key, value in entry.where.items():
        found = [form for form in found if str(form.varied[places[key]]) == str(value)]
    if not found:
        where = ", ".join([method, deploy, entry.precision, *(f"{k}={v}" for k, v in entry.where.items())])
        raise ValueError(f"the study has no scores of {where}")
    return found[0]


def _score_row(
    entry: AnswerConfig, forms: tuple[Form, Form], figures: dict[Form, BySeed], label: str, cells: dict[Any, Any]
) -> dict[str, object]:
    ours, theirs = (mean_cell(figures, form) for form in forms)
    assert paired(figures[forms[0]], figures[forms[1]])
    told = {key: cells[key] for key in ("95 % interval", "verdict")}
    return {
        **_asked(entry),
        "figure": label,
        "theirs": theirs,
        "ours": ours,
        "difference or ratio": cells["difference"],
        **told,
    }


def _cost_row(entry: AnswerConfig, cost: pd.DataFrame) -> dict[str, object]:
    cost = with_status(cost)
    known, trains = cost[entry.figure].notna(), cost["seed"].notna()
    trained = cost[known | (trains & cost[STATUS].ne(OK))].drop_duplicates("run")
    for key, value in entry.where.items():
        trained = trained[trained[f"matrix.{key}"].astype(str) == str(value)]
    sides = {"theirs": entry.against, "ours": entry.method}
    by_seed = {
        method: trained[trained["method"] == method].groupby("seed")[entry.figure].median() for method in sides.values()
    }
    ours, theirs = by_seed[entry.method], by_seed[entry.against]
    called, unit = COST[entry.figure]
    of_pair = trained[trained["method"].isin([entry.method, entry.against])]
    word = worst(of_pair.loc[of_pair[entry.figure].isna(), STATUS])
    if word != OK:
        return {
            **_asked(entry),
            "figure": called,
            **{name: _cost_cell(of_pair, method, entry.figure, unit) for name, method in sides.items()},
            **dict.fromkeys(("difference or ratio", "95 % interval", "verdict"), word),
        }
    logs = np.log((ours / theirs).dropna().to_numpy(dtype=float))
    if not len(logs):
        raise ValueError(f"the study has no {entry.figure} of both {entry.method} and {entry.against}")
    low, high = _interval(logs)
    unsure = np.isnan(low) or low <= 1 <= high
    return {
        **_asked(entry),
        "figure": called,
        "theirs": _three_digits(theirs.median() / unit),
        "ours": _three_digits(ours.median() / unit),
        "difference or ratio": f"× {np.exp(logs.mean()):.3f}",
        "95 % interval": None if np.isnan(low) else f"{low:.3f} to {high:.3f}",
        "verdict": "not separable" if unsure else "more" if logs.mean() > 0 else "less",
    }


def _cost_cell(trained: pd.DataFrame, method: str, figure: str, unit: float) -> str:
    """The median over the seeds that are there, and which are not."""
    of_method = trained[trained["method"] == method]
    lacks = of_method[figure].isna()
    statuses = of_method[STATUS].where(lacks, OK)
    return cell("" if lacks.all() else _three_digits(of_method[figure].median() / unit), list(statuses))


def _three_digits(value: float) -> str:
    """At least: 0.0446, 44.6, 4391."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _interval(logs: np.ndarray) -> tuple[float, float]:
    """Of the geometric mean; NaN for one seed."""
    if len(logs) < 2:
        return np.nan, np.nan
    from scipy import stats  # a second to import, which a plan does not need

    spread = stats.sem(logs)
    if spread == 0:
        return float(np.exp(logs[0])), float(np.exp(logs[0]))
    ends = stats.t.interval(CONFIDENCE, len(logs) - 1, loc=logs.mean(), scale=spread)
    return float(np.exp(ends[0])), float(np.exp(ends[1]))


def _asked(entry: AnswerConfig) -> dict[str, str]:
    """'baseline:int8 against baseline, onnx_int8, int8, data.rows=90000'."""
    deploys = [entry.deploy] if entry.deploy else []
    if entry.against_deploy:
        deploys = [f"{entry.deploy} against {entry.against_deploy}"]
    where = [f"{key}={value}" for key, value in entry.where.items()]
    precision = [] if entry.precision in ("float32", "") else [entry.precision]
    methods = entry.method if entry.method == entry.against else f"{entry.method} against {entry.against}"
    return {"asked of": ", ".join([methods, *deploys, *precision, *where])}


@TABLES.register("answers")
class Answers(Table):
    """Table of the comparisons that answer a study's question."""

    place = 10
    caption = """\
What the study was made to find out: the comparisons that answer its question. Scores are compared by their difference, judged
together (Holm); costs of training by their ratio, whose interval is over seeds.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
        return bool(study.answers)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        question = gathered.study.question or gathered.study.title
        return f"{question} ({gathered.judged}; costs: over seeds)"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return answers(
            gathered.study.answers,
            gathered.figures,
            gathered.cost,
            gathered.varied,
            gathered.label,
            gathered.lower_is_better,
        )
