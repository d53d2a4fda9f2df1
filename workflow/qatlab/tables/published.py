"""Others' published results beside the study's own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.gathered import per_query
from qatlab.tables.labels import precision_labels
from qatlab.tables.missing import OK, STATUS, WHOLE, Missing, cell, means, with_status, worst
from qatlab.tables.table import TABLES, Table
from qatlab.tables.wide import VARIED_PREFIX

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


ALL_TASKS = "mean"
DRIFT = ("min", "max", "mean", "mean_distance")
COST = ("seconds_per_step", "steps", "train_seconds", "peak_memory_mb", "bytes_on_disk")
FIGURE = ("table", "deploy", "task", "precision", "metric")
DESCRIPTION = ("value", "source", "note")
RANKS = range(1, 7)  # ranks among the positive and its five hard negatives
DIGITS = 4  # decimals that are shown, or more where the published value has more


def published(theirs: pd.DataFrame, ours: pd.DataFrame, stands_for: dict[str, dict[str, object]]) -> pd.DataFrame:
    """Return one row per published value: the value, ours (mean ± standard deviation over seeds), and ours − published.

    The difference is a status where seeds are missing.

    Args:
        theirs: a file of results/published, read as text; its names are those of the study's file.
        ours: the study's own results, from `figures`.
        stands_for: by matrix key, `task`, `texts` and `deploy`: the names in the study's file, by the names that replace them at this
            scale.
    """
    keys = [column for column in theirs.columns if column not in (*FIGURE, *DESCRIPTION)]
    ours = _as_written(ours, stands_for)
    columns = [*FIGURE, *keys]
    by_seed = means(ours, [*columns, "seed"]).sort_values("seed", kind="stable")
    values: dict[tuple[str, ...], list[tuple[float, str]]] = {}
    names = by_seed[columns].astype(str).itertuples(index=False, name=None)
    for key, value, status in zip(names, by_seed["value"], by_seed[STATUS], strict=True):
        values.setdefault(key, []).append((value, status))
    table = pd.DataFrame([_row(row, keys, values) for row in theirs.to_dict("records")])
    order = [*keys, *(column for column in FIGURE[1:] if column in table.columns)]
    return table[[*order, *(column for column in table.columns if column not in order)]]


def _row(
    row: dict[Any, Any], keys: list[str], own: dict[tuple[str, ...], list[tuple[float, str]]]
) -> dict[str, object]:
    seeds = own.get(tuple(str(row[key]) for key in (*FIGURE, *keys)), [])
    statuses = [status for _, status in seeds]
    values, worst_status = [value for value, status in seeds if status == OK], worst(statuses)
    digits = max(len(row["value"].partition(".")[2]), DIGITS if row["table"] != "cost" else 0)
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    cells = {
        "published": row["value"] or None,
        "ours": cell(f"{np.mean(values):.{digits}f}{deviation}" if values else "", statuses) if seeds else None,
        "ours − published": f"{np.mean(values) - float(row['value']):+.{digits}f}" if values and row["value"] else None,
    }
    if row["value"] and worst_status != OK:
        cells["ours − published"] = worst_status
    return {
        **{key: row[key] for key in keys},
        **{key: row[key] for key in FIGURE[1:] if row[key]},
        **cells,
        "note": row.get("note") or None,
    }


def _as_written(ours: pd.DataFrame, stands_for: dict[str, dict[str, object]]) -> pd.DataFrame:
    """Replace the names of this scale by those in the study's file."""
    names = {**stands_for.get("task", {}), **stands_for.get("texts", {}), ALL_TASKS: ALL_TASKS}
    replacements = {"task": names, "deploy": stands_for["deploy"]}
    for column in ours.columns.difference([*FIGURE, "seed", "value", STATUS]):
        replacements[column] = stands_for.get(column, {})
    return ours.assign(
        **{
            column: ours[column].map(lambda value, to=to: to.get(str(value), value))
            for column, to in replacements.items()
        }
    )


def figures(
    runs: Sequence[RunRecord],
    results: Path,
    scores: pd.DataFrame,
    drift: pd.DataFrame,
    cost: pd.DataFrame,
    missing: Missing = WHOLE,
) -> pd.DataFrame:
    """Return all results of a study that others may have published, in long form.

    The columns are those of a published file, `seed`, `status`, and the matrix's keys. Results that belong to no deployment, task or
    precision have "" in that column. For scores, the mean of the tasks is included.

    Args:
        runs: the study's runs.
        results: folder of the artifacts.
        scores: scores.csv; only rows without a rotation are used.
        drift: drift.csv.
        cost: cost.csv.
        missing: the missing artifacts and their status.
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
    is_present = together["value"].notna()
    together[STATUS] = together[STATUS].where(~is_present, OK)  # a row of cost.csv may have only some of its values
    columns = together[[*FIGURE, "method", "seed", "value", STATUS, *_varied(together)]]
    columns = columns[is_present | columns[STATUS].ne(OK)]
    columns = columns.fillna(dict.fromkeys(FIGURE, ""))
    return columns.rename(columns=lambda column: column.removeprefix(VARIED_PREFIX))


def _mean_of_tasks(scores: pd.DataFrame) -> pd.DataFrame:
    keys = ["table", "run", "method", "seed", "deploy", "precision", "metric", *_varied(scores)]
    return means(scores, keys).assign(task=ALL_TASKS)


def _varied(table: pd.DataFrame) -> list[str]:
    return [column for column in table.columns if column.startswith(VARIED_PREFIX)]


def _losses(runs: Sequence[RunRecord], results: Path, missing: Missing) -> Iterator[dict[str, object]]:
    """Yield the loss of the last step of each training, and the mean over all steps."""
    for run in runs:
        log, status = results / run.trained / "log.csv", missing.status(run.trained)
        losses = {"last_loss": np.nan, "mean_loss": np.nan}
        if status == OK and log.exists():
            column = pd.read_csv(log)["loss"]
            losses = {"last_loss": column.iloc[-1], "mean_loss": column.mean()}
        if run.seed is not None:
            for metric, value in losses.items():
                yield {**_run_columns(run), "table": "training", "metric": metric, "value": value, STATUS: status}


def _ranks(runs: Sequence[RunRecord], results: Path, missing: Missing) -> Iterator[dict[str, object]]:
    """Yield the shares of held-out triplets whose answer ranks first, second and so on."""
    tasks = {entry.task for run in runs for entry in run.evaluations if entry.score is not None}
    for run in runs:
        figures = per_query([run], results, dict.fromkeys(tasks, "rank"), missing).on_axes(["none"])
        for form, by_seed in figures.items():
            for by_task in by_seed.values():
                for task, ranks in by_task.items():
                    is_complete = not np.isnan(ranks).any()
                    status = OK if is_complete else worst(figures.gaps[form].values())
                    for rank in RANKS:
                        yield {
                            **_run_columns(run), "table": "ranks", "deploy": form.deploy, "task": task, "precision": form.output,
                            "metric": f"share at rank {rank}", STATUS: status,
                            "value": float((ranks == rank).mean()) if is_complete else np.nan,
                        }  # fmt: skip


def _run_columns(run: RunRecord) -> dict[str, object]:
    return {"method": run.method, "seed": run.seed, **run.varied}


def read_published(path: Path) -> pd.DataFrame:
    """Read a file of results/published, with all columns as text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def scale_note(study: StudyRecord) -> str:
    """Return scale, models and data of a study: 'scale small: all-MiniLM-L6-v2 trained on docstrings'."""
    runs = study.runs
    models, data = (
        dict.fromkeys(filter(None, names)) for names in zip(*((run.model, run.data) for run in runs), strict=True)
    )
    return f"scale {study.scale}: {', '.join(models)} trained on {', '.join(data)}"


def _published_of(gathered: "Gathered") -> pd.DataFrame:
    assert gathered.published is not None, "the study's published results are missing from the inputs of the stage"
    return read_published(gathered.published)


@TABLES.register("published")
class PublishedFigures(Table):
    """Table of others' published results beside the study's own."""

    place = 20
    caption = """\
Results that others published, and this study's own results of the same methods, as mean ± standard deviation over seeds. The title
gives the scale, model and data of the study's own results: at another scale than *full* they answer the same question for another
model, and are not expected to have the same values.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study reproduces a published one."""
        return study.stands_for is not None

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        sources = "; ".join(dict.fromkeys(_published_of(gathered)["source"]))
        ours = scale_note(gathered.study)
        return f"Published results ({sources}) beside ours at {ours} ({gathered.over}){gathered.kernel_note}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        ours = figures(
            gathered.runs, gathered.results, gathered.chosen, gathered.drift, gathered.cost, gathered.missing
        )
        return published(_published_of(gathered), ours, gathered.study.stands_for or {})
