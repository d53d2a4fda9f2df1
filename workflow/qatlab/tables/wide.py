"""Wide views of the long tables, for people: CSV, Markdown and LaTeX."""

from pathlib import Path

import pandas as pd

from qatlab.errors import printable
from qatlab.tables.harmless import in_latex, in_markdown, markdown_table, with_cells, write_csv
from qatlab.tables.machines import with_kernel
from qatlab.tables.names import TEXT, is_simulation
from qatlab.tables.outputs import precision_labels

MEAN = "mean of tasks"
WITHHELD = ("withheld records/s", "withheld, total (s)")
VARIED_PREFIX = "matrix."  # columns of what else a matrix varies, e.g. matrix.trainer.batch_size


def scores_by_precision(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric: a row per method, deployment and rotation; a column per task and precision, then the mean of the tasks.

    With several seeds a cell reads `mean ± standard deviation over seeds`.
    """
    chosen, kernel = with_kernel(scores[scores["metric"] == metric])
    chosen = chosen.assign(output=precision_labels(chosen))
    keys = [*row_keys(scores), "deploy", *kernel, *_rotation_key(scores)]
    means = chosen.groupby([*keys, "seed", "output"], sort=False, dropna=False)["value"].mean().reset_index()
    means["task"] = MEAN
    both = pd.concat([chosen[[*keys, "seed", "task", "output", "value"]], means])
    both["column"] = both["task"] + (" · " + both["output"]).where(both["output"] != TEXT, "")
    return _spread(both, keys, "column")


def all_metrics(scores: pd.DataFrame) -> pd.DataFrame:
    """Every metric, as the mean of the tasks: a row per method, deployment and precision."""
    labelled, kernel = with_kernel(scores)
    labelled = labelled.assign(precision=precision_labels(scores))
    precision = [] if labelled["precision"].eq(TEXT).all() else ["precision"]
    keys = [*row_keys(scores), "deploy", *kernel, *_rotation_key(scores), *precision]
    means = labelled.groupby([*keys, "seed", "metric"], sort=False, dropna=False)["value"].mean().reset_index()
    return _spread(means, keys, "metric")


def drift_summary(drift: pd.DataFrame) -> pd.DataFrame:
    """Drift as published studies report it, per method, reference and deployment: extremes over all texts, means over tasks and seeds.

    What it does to searches stands beside it, for tasks. Forward passes of training are left out: see parity.
    """
    drift, kernel = with_kernel(drift[[not is_simulation(reference) for reference in drift["reference"]]])
    reference = ["reference"] if drift["reference"].nunique() > 1 else []
    keys = [*row_keys(drift), "deploy", *reference, *kernel]
    grouped = drift.groupby(keys, sort=False, dropna=False)
    table = grouped.agg(
        min=("min", "min"),
        max=("max", "max"),
        mean=("mean", "mean"),
        mean_distance=("mean_distance", "mean"),
        n=("n", "sum"),
        top10_overlap=("top10_overlap", "mean"),
        rank_flips=("rank_flips", "mean"),
        margin_change=("margin_change", lambda values: round(values.mean(), 4) + 0.0),  # never −0
        kendall_tau=("kendall_tau", "mean"),
    )
    six, four = ("min", "max", "mean", "mean_distance"), ("top10_overlap", "rank_flips", "kendall_tau")
    formats = dict.fromkeys(six, "%.6f") | dict.fromkeys(four, "%.4f") | {"margin_change": "%+.4f"}
    return (
        _formatted(table.reset_index(), formats)
        .rename(columns={"top10_overlap": "top-10 overlap"})
        .rename(columns=lambda column: column.replace("_", " ") if column in formats else column)
    )


def cost_summary(cost: pd.DataFrame) -> pd.DataFrame:
    """Cost per method and deployment, medians over seeds, in units people read."""
    keys = [*row_keys(cost), "deploy"]
    columns = ["seconds_per_step", "examples_per_second", "peak_memory_bytes", "bytes_on_disk", "texts_per_second"]
    withheld = ["records_per_second", "records_seconds"] if cost["records_per_second"].notna().any() else []
    columns += withheld
    table = cost.groupby(keys, sort=False, dropna=False)[columns].median().reset_index()
    table[["peak_memory_bytes", "bytes_on_disk"]] /= 1e6
    table.columns = pd.Index(
        [*keys, "s/step", "examples/s", "peak memory (MB)", "on disk (MB)", "texts/s", *WITHHELD[: len(withheld)]]
    )
    formats = {
        "s/step": "%.2f",
        "examples/s": "%.1f",
        "peak memory (MB)": "%.0f",
        "on disk (MB)": "%.1f",
        "texts/s": "%.0f",
    } | dict.fromkeys(WITHHELD[: len(withheld)], "%.1f")
    return _formatted(table, formats)


def write_all_forms(table: pd.DataFrame, folder: Path, name: str, title: str) -> None:
    """`name`.csv, `name`.md and `name`.tex."""
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
    """Numbers as text with a fixed number of decimals; missing ones stay missing."""
    columns = {column: table[column].map(form.__mod__, na_action="ignore") for column, form in formats.items()}
    return table.assign(**columns)


def row_keys(table: pd.DataFrame) -> list[str]:
    """The method, and whatever else the matrix varies besides the seed."""
    return ["method", *(column for column in table.columns if column.startswith(VARIED_PREFIX))]


def _rotation_key(scores: pd.DataFrame) -> list[str]:
    """Rotations are rows of their own where a study has any."""
    return [] if scores["rotation"].eq("none").all() else ["rotation"]


def _spread(values: pd.DataFrame, keys: list[str], column: str) -> pd.DataFrame:
    grouped = values.groupby([*keys, column], sort=False, dropna=False)["value"]
    cells = grouped.agg(lambda v: f"{v.mean():.4f}" + (f" ± {v.std(ddof=1):.4f}" if len(v) > 1 else "")).reset_index()
    order = list(dict.fromkeys(cells[column]))
    wide = cells.pivot(index=keys, columns=column, values="value")[order]
    rows = list(dict.fromkeys(map(tuple, cells[keys].itertuples(index=False, name=None))))
    index = (
        pd.MultiIndex.from_tuples(rows, names=keys)
        if len(keys) > 1
        else pd.Index([row[0] for row in rows], name=keys[0])
    )
    return wide.reindex(index).reset_index().rename_axis(columns=None)
