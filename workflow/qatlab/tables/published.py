"""Others' published figures beside the study's own: what was asked again, and what came out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.missing import OK, STATUS, WHOLE, Missing, cell, means, with_status, worst
from qatlab.tables.outputs import precision_labels
from qatlab.tables.per_query import per_query
from qatlab.tables.table import TABLES, Table
from qatlab.tables.wide import VARIED_PREFIX

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


ALL_TASKS = "mean"
DRIFT = ("min", "max", "mean", "mean_distance")
COST = ("seconds_per_step", "steps", "train_seconds", "peak_memory_mb", "bytes_on_disk")
FIGURE = ("table", "deploy", "task", "precision", "metric")
TOLD = ("value", "source", "note")
RANKS = range(1, 7)  # the best and five hard negatives
DIGITS = 4  # that are shown of a figure, or more where it is published with more


def published(theirs: pd.DataFrame, ours: pd.DataFrame, stands_for: dict[str, dict[str, object]]) -> pd.DataFrame:
    """A row per published figure: it, ours (mean ± standard deviation over seeds), and ours less it, unless seeds are missing.

    Args:
        theirs: a file of results/published, all of it text; of the study as its file has it.
        ours: figures, of `figures`.
        stands_for: by matrix key, `task`, `texts` and `deploy`: what names of this scale stand for in the study's file.
    """
    keys = [column for column in theirs.columns if column not in (*FIGURE, *TOLD)]
    ours = _as_written(ours, stands_for)
    what = [*FIGURE, *keys]
    by_seed = means(ours, [*what, "seed"]).sort_values("seed", kind="stable")
    values: dict[tuple[str, ...], list[tuple[float, str]]] = {}
    names = by_seed[what].astype(str).itertuples(index=False, name=None)
    for of, value, status in zip(names, by_seed["value"], by_seed[STATUS], strict=True):
        values.setdefault(of, []).append((value, status))
    table = pd.DataFrame([_row(row, keys, values) for row in theirs.to_dict("records")])
    order = [*keys, *(column for column in FIGURE[1:] if column in table.columns)]
    return table[[*order, *(column for column in table.columns if column not in order)]]


def _row(
    row: dict[Any, Any], keys: list[str], values: dict[tuple[str, ...], list[tuple[float, str]]]
) -> dict[str, object]:
    of_seeds = values.get(tuple(str(row[key]) for key in (*FIGURE, *keys)), [])
    statuses = [status for _, status in of_seeds]
    found, word = [value for value, status in of_seeds if status == OK], worst(statuses)
    digits = max(len(row["value"].partition(".")[2]), DIGITS if row["table"] != "cost" else 0)
    deviation = f" ± {np.std(found, ddof=1):.{digits}f}" if len(found) > 1 else ""
    told = {
        "published": row["value"] or None,
        "ours": cell(f"{np.mean(found):.{digits}f}{deviation}" if found else "", statuses) if of_seeds else None,
        "ours − published": f"{np.mean(found) - float(row['value']):+.{digits}f}" if found and row["value"] else None,
    }
    if row["value"] and word != OK:
        told["ours − published"] = word
    return {
        **{key: row[key] for key in keys},
        **{key: row[key] for key in FIGURE[1:] if row[key]},
        **told,
        "note": row.get("note") or None,
    }


def _as_written(ours: pd.DataFrame, stands_for: dict[str, dict[str, object]]) -> pd.DataFrame:
    """With the names that the study's file has for what it is at this scale."""
    names = {**stands_for.get("task", {}), **stands_for.get("texts", {}), ALL_TASKS: ALL_TASKS}
    told = {"task": names, "deploy": stands_for["deploy"]}
    for column in ours.columns.difference([*FIGURE, "seed", "value", STATUS]):
        told[column] = stands_for.get(column, {})
    return ours.assign(
        **{column: ours[column].map(lambda value, to=to: to.get(str(value), value)) for column, to in told.items()}
    )


def figures(
    runs: Sequence[RunRecord],
    results: Path,
    scores: pd.DataFrame,
    drift: pd.DataFrame,
    cost: pd.DataFrame,
    missing: Missing = WHOLE,
) -> pd.DataFrame:
    """Every figure of a study that others may have published, in long form.

    Columns are those of a published file, `seed`, `status`, and the matrix's keys. What is not of a deployment, task or precision has ""
    there; of scores there is the mean of the tasks too.
    """
    scores, drift, cost = with_status(scores), with_status(drift), with_status(cost)
    scored = scores.assign(table="scores", precision=precision_labels(scores))
    scored = scored[(scored["rotation"] == "none")]
    drifted = drift.melt([c for c in drift if c not in DRIFT], DRIFT, var_name="metric").assign(table="drift")
    cost = cost.assign(peak_memory_mb=cost["peak_memory_bytes"] / 1e6)
    costs = cost.melt([c for c in cost if c not in COST], COST, var_name="metric").assign(table="cost")
    of_training = costs[costs["metric"] != "bytes_on_disk"].drop_duplicates(["run", "metric"]).assign(deploy="")
    parts = [
        scored,
        _mean_of_tasks(scored),
        drifted,
        costs[costs["metric"] == "bytes_on_disk"],
        of_training,
        pd.DataFrame(_losses(runs, results, missing)),
        pd.DataFrame(_ranks(runs, results, missing)),
    ]
    together = pd.concat([part for part in parts if len(part)], ignore_index=True)
    known = together["value"].notna()
    together[STATUS] = together[STATUS].where(~known, OK)  # a row of costs may lack some of them
    columns = together[[*FIGURE, "method", "seed", "value", STATUS, *_varied(together)]]
    columns = columns[known | columns[STATUS].ne(OK)]
    columns = columns.fillna(dict.fromkeys(FIGURE, ""))
    return columns.rename(columns=lambda column: column.removeprefix(VARIED_PREFIX))


def _mean_of_tasks(scores: pd.DataFrame) -> pd.DataFrame:
    keys = ["table", "run", "method", "seed", "deploy", "precision", "metric", *_varied(scores)]
    return means(scores, keys).assign(task=ALL_TASKS)


def _varied(table: pd.DataFrame) -> list[str]:
    return [column for column in table.columns if column.startswith(VARIED_PREFIX)]


def _losses(runs: Sequence[RunRecord], results: Path, missing: Missing) -> Iterator[dict[str, object]]:
    """Of the last step of each training, and the mean of all."""
    for run in runs:
        log, status = results / run.trained / "log.csv", missing.status(run.trained)
        found = {"last_loss": np.nan, "mean_loss": np.nan}
        if status == OK and log.exists():
            losses = pd.read_csv(log)["loss"]
            found = {"last_loss": losses.iloc[-1], "mean_loss": losses.mean()}
        if run.seed is not None:
            for metric, value in found.items():
                yield {**_of(run), "table": "training", "metric": metric, "value": value, STATUS: status}


def _ranks(runs: Sequence[RunRecord], results: Path, missing: Missing) -> Iterator[dict[str, object]]:
    """Of withheld records: the share whose answer stands first, second and so on."""
    tasks = {entry.task for run in runs for entry in run.evaluations if entry.score is not None}
    for run in runs:
        figures = per_query([run], results, dict.fromkeys(tasks, "rank"), missing).on_axes(["none"])
        for form, by_seed in figures.items():
            for by_task in by_seed.values():
                for task, ranks in by_task.items():
                    there = not np.isnan(ranks).any()
                    status = OK if there else worst(figures.gaps[form].values())
                    for rank in RANKS:
                        yield {
                            **_of(run), "table": "ranks", "deploy": form.deploy, "task": task, "precision": form.output,
                            "metric": f"share at rank {rank}", STATUS: status,
                            "value": float((ranks == rank).mean()) if there else np.nan,
                        }  # fmt: skip


def _of(run: RunRecord) -> dict[str, object]:
    return {"method": run.method, "seed": run.seed, **run.varied}


def read_published(path: Path) -> pd.DataFrame:
    """A file of results/published, all of it text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def scale_note(study: StudyRecord) -> str:
    """What ours are figures of: 'scale small: all-MiniLM-L6-v2 trained on docstrings'."""
    runs = study.runs
    models, data = (
        dict.fromkeys(filter(None, names)) for names in zip(*((run.model, run.data) for run in runs), strict=True)
    )
    return f"scale {study.scale}: {', '.join(models)} trained on {', '.join(data)}"


def _theirs(gathered: "Gathered") -> pd.DataFrame:
    assert gathered.published is not None, "the study's published figures are no input of the stage"
    return read_published(gathered.published)


@TABLES.register("published")
class PublishedFigures(Table):
    """Table of others' figures beside the study's own."""

    place = 20
    caption = """\
Figures that others published, and this study's own of the same methods, as mean ± standard deviation over seeds. The title says
at which scale, on which model and data the study's own are: at another scale than *full* they ask the same question of another
model, and are not to be expected to be the same figures.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
        return study.stands_for is not None

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        sources = "; ".join(dict.fromkeys(_theirs(gathered)["source"]))
        ours = scale_note(gathered.study)
        return f"Published figures ({sources}) beside ours at {ours} ({gathered.over}){gathered.kernel_note}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        ours = figures(
            gathered.runs, gathered.results, gathered.chosen, gathered.drift, gathered.cost, gathered.missing
        )
        return published(_theirs(gathered), ours, gathered.study.stands_for or {})
