"""Parity: one row per scheme, one column per deployment, and a mismatch of grids is visible."""

import pandas as pd

from qatlab.tables.decomposition import parity
from records import a_run


def test_least_and_mean_over_tasks_and_seeds_against_the_training_forward_pass():
    rows = [
        {"run": f"m-seed={seed}", "method": "m", "seed": seed, "reference": reference, "deploy": deploy, "task": task,
         "min": least, "mean": mean}
        for seed, offset in ((0, 0.0), (1, 0.02))
        for reference, deploy, task, least, mean in (
            ("simulated:int4", "torchao:int4", "a", 0.97 + offset, 0.98),
            ("simulated:int4", "torchao:int4", "b", 0.96 + offset, 0.96),
            ("simulated:int4", "torch_fp32", "a", 0.9, 0.95),
            ("torch_fp32", "torchao:int4", "a", 0.1, 0.1),
        )
    ]  # fmt: skip
    runs = [a_run(name=f"m-seed={seed}", scheme="int4") for seed in (0, 1)]
    assert parity(pd.DataFrame(rows), runs).to_dict("records") == [
        {
            "scheme": "int4",
            "method": "m",
            "torchao:int4": "0.960000 (0.970000)",
            "torch_fp32": "0.900000 (0.950000)",
        }
    ]
