"""A study's answers: scores by their difference, costs by their ratio."""

import numpy as np
import pandas as pd
import pytest

from qatlab.study.record import AnswerConfig
from qatlab.tables.answers import answers
from qatlab.tables.gathered import Form

VARIED = ["matrix.trainer.batch_size"]
SCORE = AnswerConfig(method="qat", deploy="d", precision="int8", where={"trainer.batch_size": 32})
COST = AnswerConfig(method="qat", figure="peak_memory_bytes", where={"trainer.batch_size": 32})


def figures(gain):
    generator = np.random.default_rng(0)
    base = {seed: generator.uniform(size=200) for seed in (0, 1, 2)}
    return {
        Form(method, (batch,), "d", "", "none", output): {
            seed: {"task": values + (gain if method == "qat" and batch == 32 else 0)} for seed, values in base.items()
        }
        for method in ("qat", "baseline") for batch in (32, 64) for output in ("float32", "int8")
    }  # fmt: skip


def cost(ratios):
    rows = [
        {"run": f"{method}-{seed}", "method": method, "seed": seed, "peak_memory_bytes": 1e9 * (ratio if method == "qat" else 1),
         "matrix.trainer.batch_size": 32}
        for method in ("qat", "baseline") for seed, ratio in enumerate(ratios)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_score_is_a_difference():
    (row,) = answers([SCORE], figures(0.02), cost([1, 1]), VARIED, "nDCG@10").to_dict("records")
    assert row["comparison"] == "qat against baseline, d, int8, trainer.batch_size=32"
    assert row["difference or ratio"] == "+0.0200"
    assert float(row["value"]) == pytest.approx(float(row["reference"]) + 0.02, abs=1e-4)
    assert row["verdict"] == "better"
    worse = answers([SCORE], figures(0.02), cost([1, 1]), VARIED, "bits per byte", lower_is_better=True)
    assert worse["verdict"].tolist() == ["worse"]
    other = answers(
        [SCORE.model_copy(update={"where": {"trainer.batch_size": 64}})], figures(0.02), cost([1, 1]), VARIED, "nDCG@10"
    )
    assert other["difference or ratio"].tolist() == ["+0.0000"]


def test_a_cost_is_a_ratio_over_seeds():
    row = answers([COST], {}, cost([1.1, 1.12, 1.09]), VARIED, "nDCG@10").iloc[0]
    assert row["difference or ratio"] == "× 1.103"
    low, high = map(float, row["95 % interval"].split(" to "))
    assert 1.05 < low < 1.103 < high < 1.16
    assert row["verdict"] == "more"
    assert answers([COST], {}, cost([0.99, 1.02, 1.0]), VARIED, "x")["verdict"].tolist() == ["not separable"]
    (alone,) = answers([COST], {}, cost([1.2]), VARIED, "x").to_dict("records")
    assert (alone["95 % interval"], alone["verdict"]) == (None, "not separable")


def test_what_the_study_has_not_is_an_error():
    with pytest.raises(ValueError, match="no scores of qat, d, int2"):
        answers([SCORE.model_copy(update={"precision": "int2"})], figures(0), cost([1]), VARIED, "x")
