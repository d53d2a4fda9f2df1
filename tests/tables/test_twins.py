"""QAT − PTQ is paired by seed, and only where the grid trained for is the grid shipped."""

import pandas as pd

from qatlab.tables.twins import qat_minus_ptq

VALUES = {  # (method, seed, deployment) → nDCG of the two tasks
    ("baseline", 0, "torchao_int4"): (0.50, 0.60),
    ("baseline", 1, "torchao_int4"): (0.40, 0.50),
    ("baseline", 0, "torch_fp32"): (0.90, 0.90),
    ("weight_int4", 0, "torchao_int4"): (0.52, 0.64),
    ("weight_int4", 1, "torchao_int4"): (0.41, 0.51),
    ("weight_int4", 1, "torch_fp32"): (0.80, 0.80),
}


def test_differences_are_paired_by_seed_on_the_matching_deployment():
    rows = [
        {
            "run": f"{method}-seed={seed}", "method": method, "seed": seed, "deploy": deploy, "task": task, "metric": "ndcg@10",
            "query_precision": "float32", "doc_precision": "float32", "rotation": "none", "value": value,
            "integer_kernel": None,
        }
        for (method, seed, deploy), values in VALUES.items()
        for task, value in zip("ab", values, strict=True)
    ]  # fmt: skip
    runs = [
        {
            "run": f"{method}-seed={seed}",
            "matched": {"torchao_int4": "int4"} if method == "weight_int4" else {},
            "twin": "baseline" if method == "weight_int4" else None,
        }
        for method in ("baseline", "weight_int4")
        for seed in (0, 1)
    ]
    table = qat_minus_ptq(pd.DataFrame(rows), runs, "ndcg@10")
    assert table.to_dict("records") == [
        {
            "scheme": "int4",
            "QAT method": "weight_int4",
            "PTQ of": "baseline",
            "deploy": "torchao_int4",
            "output precision": "float32",
            "PTQ": "0.5000 ± 0.0707",
            "QAT": "0.5200 ± 0.0849",
            "QAT − PTQ": "+0.0200 ± 0.0141",
            "seeds": 2,
        }
    ]


def test_figures_of_another_integer_kernel_are_no_pair():
    rows = [
        {
            "run": method, "method": method, "seed": 0, "deploy": "onnx_int8", "task": "a", "metric": "ndcg@10",
            "query_precision": precision, "doc_precision": precision, "rotation": "none", "value": 0.5,
            "integer_kernel": kernel,
        }
        for precision, kernels in (("float32", ("avx2", "avx512_vnni")), ("binary", ("avx2", "avx2")))
        for method, kernel in zip(("baseline", "trained"), kernels, strict=True)
    ]  # fmt: skip
    runs = [{"run": "trained", "matched": {"onnx_int8": "onnx_int8"}, "twin": "baseline"}]
    assert qat_minus_ptq(pd.DataFrame(rows), runs, "ndcg@10")["output precision"].tolist() == ["binary"]
