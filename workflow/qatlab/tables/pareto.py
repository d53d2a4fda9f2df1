"""What a document's bytes and a query's time buy: every output of a study, and those that no other one beats."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qatlab.config.evaluate import COMPAT
from qatlab.evaluation.outputs import FITTED_ON, outputs
from qatlab.study.record import StudyRecord
from qatlab.tables.missing import OK, STATUS, with_status, worst
from qatlab.tables.names import metric_label
from qatlab.tables.outputs import precision_labels
from qatlab.tables.table import TABLES, Table
from qatlab.tables.wide import row_keys

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered


SAME_SPEED = 0.8  # slower by less than this factor is not slower: timings are noisy
OUTPUT = ["rotation", "output"]
FITTED = "fitted on"  # the column of wide tables


def points(scores: pd.DataFrame, search: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row for each method, deployment, rotation and output.

    Args:
        scores: scores.csv. How other libraries score is left out: it is no way to ship.
        search: search.csv.
        metric: whose mean over tasks, of means over seeds, is a point's value.

    Returns:
        The columns that name a point, and
        value, bytes: the metric; what is stored of a document;
        queries_per_second: the median over tasks and runs: what a query costs does not depend on whose embeddings are compared;
        depth: documents that the first step of rescoring compares, 0 without;
        fitted_on: what the output's axes were fitted on;
        best: whether no other method of the deployment scores better at this output, in as many bytes;
        on_line: whether no best point of the deployment, fitted on no more than this one, is smaller and better;
        on_frontier: whether none of these is smaller, better and faster.

        Without those that lack a seed or task: they are no better or worse than others for it.
    """
    keys = [*row_keys(scores), "deploy", *OUTPUT]
    scores, search = with_status(scores), with_status(search)
    chosen = scores[(scores["metric"] == metric) & ~scores["scoring"].isin(COMPAT)].assign(output=precision_labels)
    tasks = chosen.groupby(keys, sort=False, dropna=False)["task"].transform("nunique")
    chosen = chosen[tasks == chosen["task"].nunique()]  # a corpus may have too few documents for some axes
    if chosen[STATUS].ne(OK).any():
        whole = chosen.groupby(keys, sort=False, dropna=False)[STATUS].transform(worst) == OK
        chosen, search = chosen[whole], search[search[STATUS] == OK].astype({"stored_bytes": int})
    of_tasks = chosen.groupby([*keys, "task"], sort=False, dropna=False)["value"].mean()
    values = of_tasks.groupby(keys, sort=False, dropna=False).mean().reset_index()
    search = search.assign(output=precision_labels).rename(columns={"stored_bytes": "bytes"})
    found = values.merge(search[[*keys, "bytes"]].drop_duplicates(keys), on=keys, how="left")
    speed = search.groupby([*OUTPUT, "bytes"], sort=False)["queries_per_second"].median().reset_index()
    found = found.merge(speed, on=[*OUTPUT, "bytes"], how="left")
    depths = chosen.assign(depth=chosen["rescoring"].str.extract(r"of (\d+)", expand=False).astype(float).fillna(0))
    of_output = depths.drop_duplicates(OUTPUT)[[*OUTPUT, "depth", "doc_precision", "fitted_on"]]
    found = found.merge(of_output, on=OUTPUT, how="left")
    leading = found.groupby(["deploy", *OUTPUT, "bytes"], sort=False)["value"].idxmax()
    found["best"] = found.index.isin(leading)
    for name, faster in (("on_line", False), ("on_frontier", True)):
        found[name] = False
        for _, rows in found[found["best"]].groupby("deploy", sort=False):
            found.loc[rows.index, name] = unbeaten(rows, faster)
    return found


def pareto(scores: pd.DataFrame, search: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The best point of each deployment and output, by falling bytes; no timings, so that it is the same from run to run."""
    table = points(scores, search, metric)
    keys = [*row_keys(scores), "deploy", *OUTPUT, "fitted_on"]
    table = table[table["best"]].assign(order=lambda rows: pd.factorize(rows["deploy"])[0])
    table = table.sort_values(["order", "bytes", "value"], ascending=[True, False, False], kind="stable")
    planned = scores[(scores["metric"] == metric) & ~scores["scoring"].isin(COMPAT)]
    told_anyway = [name for name in ("rotation", "fitted_on") if planned[name].eq("none").all()]
    shown = table[keys].drop(columns=told_anyway)
    shown = shown.rename(columns={"output": "output precision", "fitted_on": FITTED}).assign(
        **{
            "bytes per document": table["bytes"].map("{:,.0f}".format),
            metric_label(metric): table["value"].map("{:.4f}".format),
            "frontier": table["on_line"].map({True: "yes", False: ""}),
        }
    )
    return pd.concat([shown, _without_any(scores, shown, metric)], ignore_index=True)


def _without_any(scores: pd.DataFrame, shown: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of the outputs that no method has all figures of."""
    rows = with_status(scores)
    rows = rows[(rows["metric"] == metric) & ~rows["scoring"].isin(COMPAT) & (rows[STATUS] != OK)]
    rows = rows.assign(**{"output precision": precision_labels}).rename(columns={"fitted_on": FITTED})
    of = [column for column in ("deploy", "rotation", "output precision", FITTED) if column in shown]
    there = set(shown[of].itertuples(index=False, name=None))
    words = rows.groupby(of, sort=False)[STATUS].agg(worst).reset_index()
    gone = words[[row not in there for row in words[of].itertuples(index=False, name=None)]]
    return pd.DataFrame(
        [dict.fromkeys(shown.columns, row[STATUS]) | {key: row[key] for key in of} for row in gone.to_dict("records")]
    )


def unbeaten(rows: pd.DataFrame, by_speed: bool) -> np.ndarray:
    """(n,) whether no other row, fitted on the same or on less, is as good in everything, and better in something.

    What knows the searched documents never beats what does not: the two are not had under the same conditions.
    """
    size, value = rows["bytes"].to_numpy(), rows["value"].to_numpy()
    knows = rows["fitted_on"].map(FITTED_ON.index).to_numpy()
    as_good = (size[:, None] <= size) & (value[:, None] >= value) & (knows[:, None] <= knows)
    better = (size[:, None] < size) | (value[:, None] > value)
    if by_speed:
        speed = rows["queries_per_second"].to_numpy()
        as_good &= speed[:, None] >= SAME_SPEED * speed
        better |= SAME_SPEED * speed[:, None] > speed
    return np.logical_not((as_good & better).any(axis=0))


def stored_otherwise(study: StudyRecord) -> bool:
    """Return whether embeddings are searched at more than one output."""
    evaluate = study.evaluate
    if evaluate is None or "retrieval" not in study.kinds.values():
        return False
    return len([output for output in outputs(evaluate) if output.scoring not in COMPAT]) > 1


@TABLES.register("pareto")
class Pareto(Table):
    """Table of what a document's bytes buy."""

    place = 60
    caption = """\
What a document's bytes buy: of each deployment and output, the method that scores best (mean of tasks and seeds). Bytes count
all that is stored of a document, its copies for rescoring too. The frontier holds what no other output of its deployment beats: in
the table and along the plot's line, by being smaller and better; among the plot's numbered points, by being smaller, better and
faster (a fifth faster or slower counts as equal). What was fitted on the searched corpus, or on training documents, beats only what was
fitted on as much or more: there is a line for each. Queries per second are medians over tasks and runs, from ``tables/search.csv``:
exhaustive search of all queries at once, rescoring included, with documents ready to be compared. They depend on the machine.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study has such figures."""
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
