"""QAT − PTQ is paired by seed and query, and only where the grid trained for is the grid shipped."""

import numpy as np
import pytest

from qatlab.tables.differences import qat_minus_ptq
from qatlab.tables.gathered import Form
from records import a_run


def form(method, deploy, precision="float32", kernel="", rotation="none"):
    return Form(method, (), deploy, kernel, rotation, precision)


def queries(*means, count=50):
    """Two tasks of queries that vary, with these means."""
    wave = np.sin(np.arange(count)) * 0.1
    return {task: mean + wave - wave.mean() for task, mean in zip("ab", means, strict=True)}


RUNS = [
    a_run(method="baseline", matched={}, counterpart=None),
    a_run(method="baseline:int4", matched={"torchao:int4": "int4"}, counterpart="baseline"),
]
FIGURES = {
    form("baseline", "torchao:int4"): {0: queries(0.50, 0.60), 1: queries(0.40, 0.50), 2: queries(0.1, 0.1)},
    form("baseline", "torch_fp32"): {0: queries(0.90, 0.90)},
    form("baseline:int4", "torchao:int4"): {0: queries(0.52, 0.64), 1: queries(0.41, 0.51)},
    form("baseline:int4", "torch_fp32"): {1: queries(0.80, 0.80)},
}


def test_differences_are_paired_by_seed_on_the_matching_deployment():
    (row,) = qat_minus_ptq(FIGURES, RUNS, []).to_dict("records")
    low, high = map(float, row.pop("95 % interval").split(" to "))
    assert low == pytest.approx(0.02 - 2**0.5 * 0.01, abs=2e-3)  # of two seeds, a draw is often the same one twice
    assert high == pytest.approx(0.02 + 2**0.5 * 0.01, abs=2e-3)
    assert row == {
        "scheme": "int4",
        "QAT method": "baseline:int4",
        "PTQ of": "baseline",
        "deploy": "torchao:int4",
        "output precision": "float32",
        "PTQ": "0.5000 ± 0.0707",
        "QAT": "0.5200 ± 0.0849",
        "QAT − PTQ": "+0.0200 ± 0.0141",
        "seeds": 2,
        "p (Holm)": "< 0.001",
        "verdict": "better",
        "to tell them apart": "",
    }


def test_results_of_different_integer_kernels_are_not_paired():
    figures = {
        form("baseline", "onnx_int8", "float32", "avx2"): {0: queries(0.5, 0.5)},
        form("trained", "onnx_int8", "float32", "avx512_vnni"): {0: queries(0.6, 0.6)},
        form("baseline", "onnx_int8", "binary", "avx2"): {0: queries(0.5, 0.5)},
        form("trained", "onnx_int8", "binary", "avx2"): {0: queries(0.5, 0.5)},
    }
    runs = [a_run(method="trained", matched={"onnx_int8": "onnx_int8"}, counterpart="baseline")]
    assert qat_minus_ptq(figures, runs, [])["output precision"].tolist() == ["binary"]
