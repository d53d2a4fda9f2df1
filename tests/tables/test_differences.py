"""The pairs that differences compare, and the content of the cells."""

import re

import numpy as np
import pandas as pd
import pytest

from qatlab.tables.differences import against_baseline, against_float
from qatlab.tables.gathered import Form, paired
from qatlab.tables.wide import write_all_forms

RNG = np.random.default_rng(0)
QUERIES = RNG.uniform(0, 1, size=200)


def form(method, deploy="torch_fp32", precision="float32", varied=(), kernel="", rotation="none"):
    return Form(method, varied, deploy, kernel, rotation, precision)


def seeds(shift, noise=0.05, count=3):
    return {s: {"a": QUERIES + shift + RNG.normal(0, noise, size=200)} for s in range(count)}


def test_each_method_less_the_baseline_shipped_alike():
    figures = {
        form("untrained"): {None: {"a": QUERIES - 0.2}},
        form("baseline"): seeds(0),
        form("better"): seeds(0.05),
        form("same"): seeds(0.001, noise=0.3),
        form("baseline", precision="binary"): seeds(-0.1),
        form("better", precision="binary"): seeds(-0.2),
        form("better", precision="int8"): seeds(0),  # no such baseline
    }
    table = against_baseline(figures, "baseline", []).set_index(["method", "output precision"])
    assert table["verdict"].to_dict() == {
        ("untrained", "float32"): "worse",
        ("better", "float32"): "better",
        ("same", "float32"): "not separable",
        ("better", "binary"): "worse",
    }
    assert float(table.loc[("better", "float32"), "difference"]) == pytest.approx(0.05, abs=0.01)
    assert {"integer kernel", "rotation"}.isdisjoint(table.columns)
    assert (table["to tell them apart"] != "").tolist() == (table["verdict"] == "not separable").tolist()


def test_each_output_less_the_same_models_float():
    figures = {
        form("baseline"): seeds(0),
        form("baseline", "onnx_int8", kernel="avx2"): seeds(-0.02),
        form("baseline", precision="float32 × binary"): seeds(-0.1),
        form("baseline", precision="binary", rotation="itq"): seeds(-0.05),
        form("other", "onnx_int8", kernel="amx_int8"): seeds(0),  # no float of its own
    }
    table = against_float(figures, "torch_fp32", [])
    assert table["deploy"].tolist() == ["onnx_int8", "torch_fp32", "torch_fp32"]
    assert table["output precision"].tolist() == ["float32", "float32 × binary", "binary"]
    assert table["rotation"].tolist() == ["none", "none", "itq"]
    assert table["integer kernel"].tolist() == ["avx2", "", ""]  # two machines took part


def test_what_else_varies_is_compared_at_equal_values():
    figures = {
        form("baseline", varied=(32,)): seeds(0),
        form("ste", varied=(64,)): seeds(0.1),
        form("ste", varied=(32,)): seeds(0.2),
    }
    table = against_baseline(figures, "baseline", ["matrix.trainer.batch_size"])
    assert table["matrix.trainer.batch_size"].tolist() == [32]


def test_pairs_are_of_the_seeds_and_tasks_that_both_have():
    ours = {0: {"a": np.array([1.0, 2.0]), "b": np.array([1.0])}, 1: {"a": np.array([3.0, 4.0])}, 2: {"a": np.zeros(2)}}
    theirs = {1: {"a": np.array([1.0, 1.0])}, 0: {"a": np.array([1.0, 1.0]), "b": np.array([0.0])}}
    (task,) = paired(ours, theirs)
    assert task.tolist() == [[0.0, 1.0], [2.0, 3.0]]
    (task,) = paired({None: {"a": np.array([1.0, 1.0])}}, theirs)
    assert task.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert paired({0: ours[0]}, {1: theirs[1]}) == []
    (task,) = paired({None: {"a": np.ones(2)}}, {None: {"a": np.zeros(2)}})
    assert task.shape == (1, 2)


def test_one_seed_needs_only_queries_and_without_pairs_the_table_is_empty(tmp_path):
    wave = 0.2 * np.sin(np.arange(200))
    figures = {form("baseline"): {0: {"a": QUERIES}}, form("ste"): {0: {"a": QUERIES + wave + 0.005}}}
    (row,) = against_baseline(figures, "baseline", []).to_dict("records")
    assert re.fullmatch(r"[\d,]+ queries", row["to tell them apart"])
    empty = against_baseline({form("baseline"): seeds(0)}, "baseline", [])
    assert isinstance(empty, pd.DataFrame)
    assert empty.empty
    write_all_forms(empty, tmp_path, "against_baseline", "nothing")
    assert (tmp_path / "against_baseline.md").read_text().startswith("**nothing**")
