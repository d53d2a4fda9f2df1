"""Wide tables for people as CSV, Markdown and LaTeX: scores, drift and costs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from qatlab.errors import printable
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.labels import in_latex, in_markdown, markdown_table, precision_labels, with_cells, write_csv
from qatlab.tables.long import OF_TRAINING
from qatlab.tables.missing import (
    NOTE,
    OK,
    STATUS,
    by_seed,
    cell,
    kernel_note,
    means,
    note,
    with_gaps,
    with_kernel,
    with_status,
    worst,
)
from qatlab.tables.names import MEASURED, TEXT, is_simulation
from qatlab.tables.table import TABLES, Table, compares_deployments, trains

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered

MEAN = "mean of tasks"
WITHHELD = ("withheld records/s", "withheld, total (s)")
VARIED_PREFIX = "matrix."  # prefix of columns for other keys of a matrix, e.g. matrix.trainer.batch_size


def scores_by_precision(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one row per method, deployment and rotation, with one column per task and precision, and then the mean of the tasks.

    With several seeds a cell reads `mean ± standard deviation over seeds`; a cell with missing seeds is marked.

    Args:
        scores: scores.csv.
        metric: name of the metric that is shown.
    """
    chosen, kernel = with_kernel(with_status(scores[scores["metric"] == metric]))
    chosen = chosen.assign(output=precision_labels(chosen))
    keys = [*row_keys(scores), "deploy", *kernel, *_rotation_key(scores)]
    task_means = means(chosen, [*keys, "seed", "output"]).assign(task=MEAN)
    both = pd.concat([chosen[[*keys, "seed", "task", "output", "value", STATUS]], task_means], ignore_index=True)
    both["column"] = both["task"] + (" · " + both["output"]).where(both["output"] != TEXT, "")
    return _spread(both, keys, "column")


def all_metrics(scores: pd.DataFrame) -> pd.DataFrame:
    """Return every metric as the mean of the tasks, with one row per method, deployment and precision."""
    labelled, kernel = with_kernel(with_status(scores))
    labelled = labelled.assign(precision=precision_labels(scores))
    precision = [] if labelled["precision"].eq(TEXT).all() else ["precision"]
    keys = [*row_keys(scores), "deploy", *kernel, *_rotation_key(scores), *precision]
    return _spread(means(labelled, [*keys, "seed", "metric"]), keys, "metric")


def drift_summary(drift: pd.DataFrame) -> pd.DataFrame:
    """Summarize drift.csv per method, reference and deployment, as published studies do.

    Minimum and maximum are over all texts, means over tasks and seeds. For tasks, the effect on searches is included. Forward passes of
    training are left out; see `parity`. Seeds that lack a task or a set of texts are left out, and their number is noted.
    """
    drift, kernel = with_kernel(drift[[not is_simulation(reference) for reference in drift["reference"]]])
    reference = ["reference"] if drift["reference"].nunique() > 1 else []
    keys = [*row_keys(drift), "deploy", *reference, *kernel]
    complete, statuses = by_seed(drift, keys)
    grouped = complete.groupby(keys, sort=False, dropna=False)
    table = grouped.agg(
        min=("min", "min"),
        max=("max", "max"),
        mean=("mean", "mean"),
        mean_distance=("mean_distance", "mean"),
        n=("n", "sum"),
        top10_overlap=("top10_overlap", "mean"),
        rank_flips=("rank_flips", "mean"),
        margin_change=("margin_change", lambda values: round(values.mean(), 4) + 0.0),  # + 0.0 turns −0 into 0
        kendall_tau=("kendall_tau", "mean"),
    )
    six_decimals, four_decimals = (
        ("min", "max", "mean", "mean_distance"),
        ("top10_overlap", "rank_flips", "kendall_tau"),
    )
    formats = dict.fromkeys(six_decimals, "%.6f") | dict.fromkeys(four_decimals, "%.4f") | {"margin_change": "%+.4f"}
    shown = (
        _formatted(table.reset_index(), formats)
        .rename(columns={"top10_overlap": "top-10 overlap"})
        .rename(columns=lambda column: column.replace("_", " ") if column in formats else column)
    )
    return with_gaps(shown, statuses, keys)


COVERAGE = "weights quantized"  # share of the weights of linear layers


def cost_summary(cost: pd.DataFrame, records: bool = False) -> pd.DataFrame:
    """Summarize cost.csv per method and deployment: medians over seeds, in the units that the columns name.

    Args:
        cost: cost.csv.
        records: whether the study has held-out triplets, whose rates are additional columns.
    """
    cost = with_status(cost).assign(
        weights_quantized=lambda table: 100 * (table["quantized_weights"] / table["linear_weights"]).astype(float)
    )
    keys = [*row_keys(cost), "deploy"]
    columns = ["seconds_per_step", "examples_per_second", "peak_memory_bytes", "bytes_on_disk", "texts_per_second"]
    withheld = ["records_per_second", "records_seconds"] if records else []
    columns += [*withheld, "weights_quantized"]
    table = cost.groupby(keys, sort=False, dropna=False)[columns].median().reset_index()
    table[["peak_memory_bytes", "bytes_on_disk"]] /= 1e6
    shown = [
        "s/step",
        "examples/s",
        "peak memory (MB)",
        "on disk (MB)",
        "texts/s",
        *WITHHELD[: len(withheld)],
        COVERAGE,
    ]
    table.columns = pd.Index([*keys, *shown])
    formats = {
        "s/step": "%.2f",
        "examples/s": "%.1f",
        "peak memory (MB)": "%.0f",
        "on disk (MB)": "%.1f",
        "texts/s": "%.0f",
    } | dict.fromkeys(WITHHELD[: len(withheld)], "%.1f")
    formats[COVERAGE] = "%.1f %%"
    return _with_gaps_of_cost(_formatted(table, formats), cost, keys, dict(zip(columns, shown, strict=True)))


def _with_gaps_of_cost(
    table: pd.DataFrame, cost: pd.DataFrame, keys: list[str], columns: dict[str, str]
) -> pd.DataFrame:
    """Write the status into cells without a value.

    A row may have only some of its values: the cost of a training is available even if its deployment has failed.
    """
    if cost[STATUS].eq(OK).all():
        return table
    table = table.astype(object)
    statuses = []
    for at, (_, rows) in enumerate(cost.groupby(keys, sort=False, dropna=False)):
        statuses.append(list(rows.groupby("seed", sort=False, dropna=False)[STATUS].agg(worst)))
        for column, name in columns.items():
            should_be = rows[STATUS].ne(OK) & (rows["seed"].notna() | (column not in OF_TRAINING))
            if rows[column].isna().all() and should_be.any():
                table.loc[at, name] = worst(rows.loc[should_be, STATUS])
    return table.assign(**{NOTE: [note(group) for group in statuses]})


def write_all_forms(table: pd.DataFrame, folder: Path, name: str, title: str) -> None:
    """Write a table as `name`.csv, `name`.md and `name`.tex.

    Args:
        table: the table; missing values are written as –.
        folder: folder of the files, which must exist.
        name: name of the files without suffix, and of the LaTeX label.
        title: heading in Markdown and caption in LaTeX.
    """
    shown = table.astype(object).where(table.notna(), "–")
    write_csv(shown, folder / f"{name}.csv")
    (folder / f"{name}.md").write_text(f"**{in_markdown(title)}**\n\n{markdown_table(shown)}\n", encoding="utf-8")
    latex = with_cells(shown, printable).to_latex(
        index=False, escape=True, caption=in_latex(title), label=f"tab:{name}"
    )
    (folder / f"{name}.tex").write_text(
        latex.replace("±", r"$\pm$").replace("·", r"$\cdot$").replace("–", "--"), encoding="utf-8"
    )


def _formatted(table: pd.DataFrame, formats: dict[str, str]) -> pd.DataFrame:
    """Format the numbers of some columns by printf formats; missing values stay missing."""
    columns = {column: table[column].map(form.__mod__, na_action="ignore") for column, form in formats.items()}
    return table.assign(**columns)


def row_keys(table: pd.DataFrame) -> list[str]:
    """Return the key columns of a long table: the method, and whatever else the matrix varies besides the seed."""
    return ["method", *(column for column in table.columns if column.startswith(VARIED_PREFIX))]


def _rotation_key(scores: pd.DataFrame) -> list[str]:
    """Return the key column of rotations, if a study has any."""
    return [] if scores["rotation"].eq("none").all() else ["rotation"]


def _spread(values: pd.DataFrame, keys: list[str], column: str) -> pd.DataFrame:
    def text(seeds: pd.Series) -> str:
        statuses, present = list(values.loc[seeds.index, STATUS]), seeds.dropna()
        deviation = f" ± {present.std(ddof=1):.4f}" if len(present) > 1 else ""
        return cell(f"{present.mean():.4f}{deviation}", statuses)

    grouped = values.groupby([*keys, column], sort=False, dropna=False)["value"]
    cells = grouped.agg(text).reset_index()
    order = list(dict.fromkeys(cells[column]))
    wide = cells.pivot(index=keys, columns=column, values="value")[order]
    rows = list(dict.fromkeys(map(tuple, cells[keys].itertuples(index=False, name=None))))
    index = (
        pd.MultiIndex.from_tuples(rows, names=keys)
        if len(keys) > 1
        else pd.Index([row[0] for row in rows], name=keys[0])
    )
    return wide.reindex(index).reset_index().rename_axis(columns=None)


@TABLES.register("scores_by_precision")
class ScoresByPrecision(Table):
    """Table of the main metric by method, deployment, task and output precision."""

    place = 30
    caption = """\
The primary metric by method and deployment, with one column for each task and output precision, and then the mean of the tasks.
All precisions are computed from the same encoding. With several seeds, a cell is mean ± standard deviation over seeds.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return True: every study has scores."""
        return True

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        by = "" if gathered.in_text else " by output precision"
        return f"{gathered.label}{by} ({gathered.over}){gathered.kernel_note}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return scores_by_precision(*gathered.main)


@TABLES.register("all_metrics")
class AllMetrics(Table):
    """Table of every metric, as the mean of the tasks."""

    place = 40
    caption = """\
Every metric at every output precision, as the mean of the tasks.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return True: every study has scores."""
        return True

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        return f"All metrics, mean of the tasks ({gathered.over}){gathered.kernel_note}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return all_metrics(gathered.chosen)


@TABLES.register("drift_summary")
class DriftSummary(Table):
    """Table of the drift of embeddings by deployment."""

    place = 140
    caption = """\
Cosine similarity of each text's embedding before and after deployment, as published drift studies report it: minimum and maximum
over all texts, mean, and mean distance (1 − mean). The other columns are the effect on a search: the share of the ten best documents
that remain among the ten best, the share of their pairs that change order, the change in the margin of relevant documents over
others, and Kendall's τ of the scores of the hundred best.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study compares deployments with one another."""
        return compares_deployments(study)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        names = dict.fromkeys(name for name in gathered.drift["reference"] if not is_simulation(name))
        references = "a reference" if len(names) > 1 else next(iter(names))
        return f"Cosine similarity to {references}, text by text{kernel_note(gathered.drift)}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return drift_summary(gathered.drift)


@TABLES.register("cost_summary")
class CostSummary(Table):
    """Table of the cost of training, and of the size and speed of deployments."""

    place = 170
    caption = """\
Cost of training, and size and speed of deployments. Timings here and in ``search.csv`` depend on the machine; no other table does.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return True: every study has costs."""
        return True

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        return f"Cost ({MEASURED})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return cost_summary(gathered.cost, bool(gathered.withheld))


def cost_of_training(cost: pd.DataFrame, runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Build a table with one row per method that trains.

    Values are medians over seeds, and their ratios to those of the counterpart: the method that is trained in the same way without
    the scheme. A column `missing` is added if a row lacks seeds.

    Args:
        cost: cost.csv.
        runs: the study's runs.
    """
    cost = with_status(cost)
    known = cost["seconds_per_step"].notna()
    lacks = ~known & cost["seed"].notna() & cost[STATUS].ne(OK)
    trained = cost[known | lacks].assign(**{STATUS: cost[STATUS].where(lacks, OK)}).drop_duplicates("run")
    varied = [column for column in cost.columns if column.startswith(VARIED_PREFIX)]
    keys = ["method", *varied, "scheme", "tuning"]
    measures = ["peak_memory_bytes", "seconds_per_step", "trained_parameters"]
    grouped = trained.groupby(keys, sort=False, dropna=False)
    medians = grouped[measures].median().reset_index().to_dict("records")
    for row, statuses in zip(medians, grouped[STATUS].agg(list), strict=True):
        row[STATUS] = statuses
    counterparts = {run.method: run.counterpart for run in runs if run.counterpart}
    by_method = {(row["method"], *(row[key] for key in varied)): row for row in medians}
    rows = []
    for row in medians:
        counterpart = by_method.get((counterparts.get(row["method"]), *(row[key] for key in varied)))
        rows.append(
            {key: row[key] for key in keys}
            | {
                "trained parameters (M)": _median(row, "trained_parameters", "%.2f", 1e6),
                "peak memory (MB)": _median(row, "peak_memory_bytes", "%.2f", 1e6),
                "s/step": _median(row, "seconds_per_step", "%.3f"),
                "memory / without": _ratio(row, counterpart, "peak_memory_bytes"),
                "s/step / without": _ratio(row, counterpart, "seconds_per_step"),
            }
        )
    table = pd.DataFrame(rows)
    complete = all(worst(row[STATUS]) == OK for row in medians)
    return table if complete else table.assign(**{NOTE: [note(row[STATUS]) for row in medians]})


def _median(row: dict[Any, Any], measure: str, number_format: str, unit: float = 1.0) -> str:
    return number_format % (row[measure] / unit) if OK in row[STATUS] else worst(row[STATUS])


def _ratio(row: dict[Any, Any], counterpart: dict[Any, Any] | None, measure: str) -> str | None:
    """Return the ratio of two medians; their worst status if either lacks seeds; None without a counterpart."""
    if counterpart is None:
        return None
    status = worst([*row[STATUS], *counterpart[STATUS]])
    return f"{row[measure] / counterpart[measure]:.3f}" if status == OK else status


@TABLES.register("cost_of_training")
class CostOfTraining(Table):
    """Table of memory and time of a training step by scheme."""

    place = 180
    caption = """\
Peak memory and time of a training step by weight scheme, for full fine-tuning and LoRA, and their ratios to the same training
without the scheme. Memory is the peak that PyTorch allocated on a GPU, or the process's peak resident size on a CPU.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study trains a model."""
        return trains(study)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        return f"Cost of a training step by scheme, and over the same training without it ({MEASURED})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        return cost_of_training(gathered.cost, gathered.runs)
