"""Trade-off of quality, bytes per document and search speed: all outputs of a study, and those on the Pareto frontier."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qatlab.config.evaluate import COMPAT
from qatlab.evaluation.outputs import FITTED_ON, outputs
from qatlab.evaluation.task import SEARCHED
from qatlab.study.record import StudyRecord
from qatlab.tables.labels import precision_labels
from qatlab.tables.missing import OK, STATUS, with_status, worst
from qatlab.tables.names import metric_label
from qatlab.tables.table import TABLES, Table
from qatlab.tables.wide import row_keys

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


SAME_SPEED = 0.8  # at this share of another's speed or more, an output counts as equally fast: timings are noisy
OUTPUT = ["rotation", "output"]
FITTED = "fitted on"  # column of wide tables


def points(scores: pd.DataFrame, search: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one row per method, deployment, rotation and output.

    Args:
        scores: scores.csv. Rows that reproduce how other libraries score are left out: they are not a deployable output.
        search: search.csv, with the bytes per document and the speed of each output.
        metric: name of the metric whose mean over tasks, of means over seeds, is a point's value.

    Returns:
        The columns that name a point, and
        value: the metric;
        bytes: the bytes stored per document;
        queries_per_second: the median over tasks and runs, because the cost of a query does not depend on the embeddings' values;
        depth: the number of documents that rescoring compares in its first step, or 0 without rescoring;
        fitted_on: what the output's axes were fitted on;
        best: whether no other method of the deployment scores better at this output in as many bytes;
        on_line: whether no best point of the deployment that was fitted on the same or on less is smaller and better;
        on_frontier: whether none of these points is smaller, better and faster.

        Points that lack a seed or a task are left out, because their means are not comparable with the others'.
    """
    keys = [*row_keys(scores), "deploy", *OUTPUT]
    scores, search = with_status(scores), with_status(search)
    chosen = scores[(scores["metric"] == metric) & ~scores["scoring"].isin(COMPAT)].assign(output=precision_labels)
    tasks = chosen.groupby(keys, sort=False, dropna=False)["task"].transform("nunique")
    chosen = chosen[tasks == chosen["task"].nunique()]  # a corpus may have too few documents for some axes
    if chosen[STATUS].ne(OK).any():
        complete = chosen.groupby(keys, sort=False, dropna=False)[STATUS].transform(worst) == OK
        chosen, search = chosen[complete], search[search[STATUS] == OK].astype({"stored_bytes": int})
    task_means = chosen.groupby([*keys, "task"], sort=False, dropna=False)["value"].mean()
    values = task_means.groupby(keys, sort=False, dropna=False).mean().reset_index()
    search = search.assign(output=precision_labels).rename(columns={"stored_bytes": "bytes"})
    table = values.merge(search[[*keys, "bytes"]].drop_duplicates(keys), on=keys, how="left")
    speed = search.groupby([*OUTPUT, "bytes"], sort=False)["queries_per_second"].median().reset_index()
    table = table.merge(speed, on=[*OUTPUT, "bytes"], how="left")
    depths = chosen.assign(depth=chosen["rescoring"].str.extract(r"of (\d+)", expand=False).astype(float).fillna(0))
    output_properties = depths.drop_duplicates(OUTPUT)[[*OUTPUT, "depth", "doc_precision", "fitted_on"]]
    table = table.merge(output_properties, on=OUTPUT, how="left")
    leading = table.groupby(["deploy", *OUTPUT, "bytes"], sort=False)["value"].idxmax()
    table["best"] = table.index.isin(leading)
    for name, faster in (("on_line", False), ("on_frontier", True)):
        table[name] = False
        for _, rows in table[table["best"]].groupby("deploy", sort=False):
            table.loc[rows.index, name] = unbeaten(rows, faster)
    return table


def pareto(scores: pd.DataFrame, search: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the best point of each deployment and output, by descending bytes; without timings, so that it is identical between runs."""
    table = points(scores, search, metric)
    keys = [*row_keys(scores), "deploy", *OUTPUT, "fitted_on"]
    table = table[table["best"]].assign(order=lambda rows: pd.factorize(rows["deploy"])[0])
    table = table.sort_values(["order", "bytes", "value"], ascending=[True, False, False], kind="stable")
    planned = scores[(scores["metric"] == metric) & ~scores["scoring"].isin(COMPAT)]
    constant_columns = [name for name in ("rotation", "fitted_on") if planned[name].eq("none").all()]
    shown = table[keys].drop(columns=constant_columns)
    shown = shown.rename(columns={"output": "output precision", "fitted_on": FITTED}).assign(
        **{
            "bytes per document": table["bytes"].map("{:,.0f}".format),
            metric_label(metric): table["value"].map("{:.4f}".format),
            "frontier": table["on_line"].map({True: "yes", False: ""}),
        }
    )
    return pd.concat([shown, _without_any(scores, shown, metric)], ignore_index=True)


def _without_any(scores: pd.DataFrame, shown: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return rows for the outputs that no method has complete results for, filled with their status."""
    rows = with_status(scores)
    rows = rows[(rows["metric"] == metric) & ~rows["scoring"].isin(COMPAT) & (rows[STATUS] != OK)]
    rows = rows.assign(**{"output precision": precision_labels}).rename(columns={"fitted_on": FITTED})
    keys = [column for column in ("deploy", "rotation", "output precision", FITTED) if column in shown]
    shown_keys = set(shown[keys].itertuples(index=False, name=None))
    statuses = rows.groupby(keys, sort=False)[STATUS].agg(worst).reset_index()
    absent = statuses[[row not in shown_keys for row in statuses[keys].itertuples(index=False, name=None)]]
    return pd.DataFrame(
        [
            dict.fromkeys(shown.columns, row[STATUS]) | {key: row[key] for key in keys}
            for row in absent.to_dict("records")
        ]
    )


def unbeaten(rows: pd.DataFrame, by_speed: bool) -> np.ndarray:
    """Return, as booleans of shape (n,), which rows no other row beats.

    A row beats another one if it was fitted on the same or on less, is as good in every respect, and is better in one. An output fitted
    on the searched documents never beats one that was not: the two are not available under the same conditions. Speed counts only
    with `by_speed`.
    """
    size, value = rows["bytes"].to_numpy(), rows["value"].to_numpy()
    fitted = rows["fitted_on"].map(FITTED_ON.index).to_numpy()
    as_good = (size[:, None] <= size) & (value[:, None] >= value) & (fitted[:, None] <= fitted)
    better = (size[:, None] < size) | (value[:, None] > value)
    if by_speed:
        speed = rows["queries_per_second"].to_numpy()
        as_good &= speed[:, None] >= SAME_SPEED * speed
        better |= SAME_SPEED * speed[:, None] > speed
    return np.logical_not((as_good & better).any(axis=0))


def stored_otherwise(study: StudyRecord) -> bool:
    """Return whether embeddings are searched at more than one output."""
    evaluate = study.evaluate
    if evaluate is None or not set(SEARCHED) & set(study.kinds.values()):
        return False
    return len([output for output in outputs(evaluate) if output.scoring not in COMPAT]) > 1


@TABLES.register("pareto")
class Pareto(Table):
    """Table of the best score of each output, by bytes per document."""

    place = 60
    caption = """\
Scores by bytes per document: for each deployment and output, the method that scores best (mean of tasks and seeds). Bytes count
everything that is stored per document, including copies for rescoring. The frontier consists of the outputs that no other output of the
same deployment beats: in the table and along the plot's line, by being smaller and better; among the plot's numbered points, by being
smaller, better and faster (a fifth faster or slower counts as equal). An output that was fitted on the searched corpus, or on training
documents, beats only outputs that were fitted on as much or more; the plot has one line for each. Queries per second are medians over
tasks and runs, from ``tables/search.csv``: exhaustive search of all queries at once, including rescoring, with documents already
prepared for comparison. They depend on the machine.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study searches embeddings at more than one output."""
        return stored_otherwise(study)

    def title(self, gathered: "Gathered") -> str:
        """Return the line above the table."""
        metric = metric_label(gathered.study.primary_metric)
        best = "each output with the method that scores best"
        fitted = FITTED in self.rows(gathered)
        rule = "; none is beaten by what was fitted on more of what is searched" if fitted else ""
        return f"{metric} by bytes per document, copies for rescoring included: {best}{rule}{gathered.kernel_note}"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the table."""
        return pareto(gathered.scores, gathered.search, gathered.study.primary_metric)
