"""Pareto frontier: outputs that no other one beats in bytes and quality, and in speed."""

import pandas as pd
import pytest

from conftest import AS_IT_IS
from qatlab.tables.pareto import pareto, points

METRIC = "ndcg@10"


def tables(rows):
    """Build scores and search tables from rows of (method, deploy, documents' precision, rescoring, value, bytes, queries per second)."""
    scores, search = [], []
    for method, deploy, precision, rescoring, value, stored, speed in rows:
        row = {"method": method, "deploy": deploy, "seed": 0, "task": "a", "rotation": "none", **AS_IT_IS}
        row |= {"query_precision": precision, "doc_precision": precision, "rescoring": rescoring}
        scores.append({**row, "metric": METRIC, "value": value})
        search.append({**row, "stored_bytes": stored, "queries_per_second": speed})
    return pd.DataFrame(scores), pd.DataFrame(search)


ROWS = [
    ("plain", "torch", "float32", "none", 0.80, 1536, 100),
    ("ste", "torch", "float32", "none", 0.79, 1536, 100),
    ("plain", "torch", "int8", "none", 0.81, 384, 95),  # smaller and better than float32, and as fast
    ("plain", "torch", "binary", "none", 0.60, 48, 900),
    ("ste", "torch", "binary", "none", 0.70, 48, 900),
    ("ste", "torch", "binary", "float32 of 40", 0.80, 1584, 500),  # beaten by int8, but faster
    ("plain", "onnx", "float32", "none", 0.75, 1536, 100),
]


def named(table):
    return set(table[["deploy", "method", "output"]].itertuples(index=False, name=None))


def test_the_best_method_of_each_output_and_deployment():
    table = points(*tables(ROWS), METRIC)
    assert len(table) == len(ROWS)
    assert named(table[~table["best"]]) == {("torch", "ste", "float32"), ("torch", "plain", "binary")}


def test_points_on_the_frontier():
    table = points(*tables(ROWS), METRIC)
    both = {("torch", "plain", "int8"), ("torch", "ste", "binary"), ("onnx", "plain", "float32")}
    assert named(table[table["on_line"]]) == both
    assert named(table[table["on_frontier"]]) == both | {("torch", "ste", "binary → float32 of 40")}
    assert table.set_index(["method", "output"]).loc[("ste", "binary → float32 of 40"), "depth"] == 40


def test_values_are_means_of_tasks_and_speeds_are_medians_of_all_runs():
    scores, search = tables(ROWS[:2])
    scores = pd.concat([scores, scores.assign(task="b", value=0.5), scores.assign(seed=1, value=0.7)])
    search = pd.concat([search, search.assign(task="b", queries_per_second=[300, 40])])
    table = points(scores, search, METRIC).set_index("method")
    assert table.loc["plain", "value"] == pytest.approx((0.75 + 0.5) / 2)
    assert set(table["queries_per_second"]) == {100}


def test_the_view_has_no_timings():
    scores, search = tables(ROWS)
    table = pareto(scores, search, METRIC)
    assert list(table.columns) == ["method", "deploy", "output precision", "bytes per document", "nDCG@10", "frontier"]
    assert table["bytes per document"].tolist() == ["1,584", "1,536", "384", "48", "1,536"]
    assert table["frontier"].tolist() == ["", "", "yes", "yes", "yes"]
    slower = search.assign(queries_per_second=search["queries_per_second"].iloc[::-1].to_numpy())
    assert pareto(scores, slower, METRIC).equals(table)


def on_axes(scores, search, rotation, fitted_on, gain):
    """The same outputs on other axes."""
    axes = {"rotation": rotation, "fitted_on": fitted_on}
    return scores.assign(**axes, value=scores["value"] + gain), search.assign(**axes)


def test_outputs_fitted_on_more_never_beat_outputs_fitted_on_less():
    """At equal bytes the scores are: plain signs .60, of training .62, of the corpus .65, and random ones .61."""
    plain = tables([ROWS[3]])
    parts = [plain]
    for rotation, fitted_on, gain in (
        ("centred_training", "training", 0.02),
        ("itq", "corpus", 0.05),
        ("centred", "corpus", -0.01),
    ):
        parts.append(on_axes(*plain, rotation, fitted_on, gain))
    scores, search = (pd.concat(side, ignore_index=True) for side in zip(*parts, strict=True))
    table = points(scores, search, METRIC).set_index("rotation")
    assert table["on_line"].to_dict() == {"none": True, "centred_training": True, "itq": True, "centred": False}
    assert table["on_frontier"].equals(table["on_line"].rename("on_frontier"))
    better = on_axes(*plain, "random", "none", 0.1)
    scores, search = (
        pd.concat([side, more], ignore_index=True) for side, more in zip((scores, search), better, strict=True)
    )
    table = points(scores, search, METRIC).set_index("rotation")
    assert table.index[table["on_line"]].tolist() == ["random"]
    view = pareto(scores, search, METRIC)
    assert view.columns.tolist() == [
        "method", "deploy", "rotation", "output precision", "fitted on", "bytes per document", "nDCG@10", "frontier",
    ]  # fmt: skip
    assert dict(zip(view["rotation"], view["fitted on"], strict=True)) == {
        "random": "none", "itq": "corpus", "centred_training": "training", "none": "none", "centred": "corpus",
    }  # fmt: skip


def test_axes_that_a_task_has_too_few_documents_for_are_omitted():
    scores, search = tables([ROWS[3]])
    turned = on_axes(scores, search, "itq", "corpus", 0.1)
    scores = pd.concat([scores, scores.assign(task="b"), turned[0]], ignore_index=True)
    search = pd.concat([search, search.assign(task="b"), turned[1]], ignore_index=True)
    assert points(scores, search, METRIC)["rotation"].tolist() == ["none"]
    assert pareto(scores, search, METRIC)["rotation"].tolist() == ["none"]


def test_matrix_keys_distinguish_methods_and_may_be_missing():
    """As read back from files: an untrained model has no batch size."""
    scores, search = tables([*ROWS[:2], ROWS[4]])
    for table in (scores, search):
        table["matrix.trainer.batch_size"] = [None, 32, 32]
    table = points(scores, search, METRIC)
    assert table["matrix.trainer.batch_size"].isna().tolist() == [True, False, False]
    assert table["bytes"].tolist() == [1536, 1536, 48]


def test_models_of_other_sizes_do_not_hide_one_another():
    scores, search = tables([ROWS[2], (*ROWS[2][:4], 0.70, 192, 200)])
    for table in (scores, search):
        table["matrix.model"] = ["large", "small"]
    assert points(scores, search, METRIC)["on_line"].all()
