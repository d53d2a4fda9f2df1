"""int8 rows of CPUs with different integer kernels are kept in separate rows, and the title notes it."""

import pandas as pd
import pytest

from conftest import AS_IT_IS
from qatlab.tables import wide
from qatlab.tables.missing import kernel_note


def scores(*kernels):
    return pd.DataFrame(
        {"method": "m", "seed": seed, "deploy": "onnx_int8", "task": "a", "metric": "ndcg@10", "rotation": "none", **AS_IT_IS,
         "query_precision": "float32", "doc_precision": "float32", "value": 0.5 + 0.1 * seed, "integer_kernel": kernel}
        for seed, kernel in enumerate(kernels)
    )  # fmt: skip


@pytest.mark.parametrize("view", [lambda table: wide.scores_by_precision(table, "ndcg@10"), wide.all_metrics])
def test_seeds_of_one_kernel_are_averaged_and_of_two_are_not(view):
    one, two = view(scores("avx2", "avx2")), view(scores("avx2", "avx512_vnni"))
    assert len(one) == 1
    assert "integer kernel" not in one.columns
    assert two["integer kernel"].tolist() == ["avx2", "avx512_vnni"]
    assert not any("±" in str(cell) for cell in two.to_numpy().ravel())


def test_drift_of_different_kernels_has_separate_rows():
    figures = ("min", "max", "mean", "mean_distance", "top10_overlap", "rank_flips", "margin_change", "kendall_tau")
    rows = scores("avx2", "avx512_vnni").assign(reference="torch_fp32", n=1, **dict.fromkeys(figures, 0.5))
    assert wide.drift_summary(rows)["integer kernel"].tolist() == ["avx2", "avx512_vnni"]


def test_titles_name_the_kernels():
    assert kernel_note(scores(None)) == ""
    assert kernel_note(scores("avx2", None)) == "; int8 computed with avx2"
    assert "differ (avx2, avx512_vnni) and do not compare" in kernel_note(scores("avx512_vnni", "avx2"))
