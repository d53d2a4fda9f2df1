"""QAT − PTQ: a model trained for a scheme beside its twin, trained alike without it and quantized to it after training."""

from typing import Any

import pandas as pd

from qatlab.tables.outputs import precision_labels
from qatlab.tables.wide import VARIED_PREFIX


def qat_minus_ptq(scores: pd.DataFrame, runs: list[dict[str, Any]], metric: str) -> pd.DataFrame:
    """A row per scheme, method, deployment and output precision; means of the tasks, paired by seed and what else varies.

    Args:
        scores: scores.csv.
        runs: the study's run descriptions; `matched` names the deployments on the grid that a run was trained for, `twin`
            the method that the twin is of.
    """
    varied = [column for column in scores.columns if column.startswith(VARIED_PREFIX)]
    keys = ["twin", *varied, "seed", "deploy", "kernel", "output"]  # int8 figures pair with those of the same machine
    chosen = scores[(scores["metric"] == metric) & (scores["rotation"] == "none")]
    chosen = chosen.assign(output=precision_labels(chosen), kernel=chosen["integer_kernel"].fillna(""))
    means = chosen.groupby(["run", "method", *keys[1:]], sort=False, dropna=False)["value"].mean().reset_index()
    twins = means.rename(columns={"method": "twin"}).drop(columns=["run"])
    trained = [
        means[(means["run"] == run["run"]) & (means["deploy"] == deploy)].assign(scheme=scheme, twin=run["twin"])
        for run in runs
        if run["twin"]
        for deploy, scheme in run["matched"].items()
    ]
    pairs = pd.concat(trained).merge(twins, on=keys, suffixes=("_qat", "_ptq"))
    pairs["difference"] = pairs["value_qat"] - pairs["value_ptq"]
    rows = []
    for key, group in pairs.groupby(
        ["scheme", "method", "twin", *varied, "deploy", "output"], sort=False, dropna=False
    ):
        labels = dict(zip(["scheme", "QAT method", "PTQ of", *varied, "deploy", "output precision"], key, strict=True))
        figures = {
            "PTQ": _cell(group["value_ptq"], "%.4f"),
            "QAT": _cell(group["value_qat"], "%.4f"),
            "QAT − PTQ": _cell(group["difference"], "%+.4f"),
            "seeds": len(group),
        }
        rows.append(labels | figures)
    return pd.DataFrame(rows)


def _cell(values: pd.Series, form: str) -> str:
    return form % values.mean() + (f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "")
