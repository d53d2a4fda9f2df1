"""What a scheme costs in training: medians over seeds, and ratios to the method trained alike without it."""

import pandas as pd

from qatlab.tables.wide import cost_of_training
from records import a_run


def test_ratios_are_to_the_counterpart():
    memory = {
        "baseline": (100e6, 110e6, 300e6),
        "baseline:int8": (121e6, 120e6, 130e6),
        "lora": (50e6,),
        "untrained": (None,),
    }
    rows = [
        {"run": f"{method}-{seed}", "method": method, "seed": seed, "deploy": deploy, "peak_memory_bytes": peak,
         "seconds_per_step": peak and 2.0, "trained_parameters": 5e6,
         "scheme": "int8" if "int8" in method else "none", "tuning": "LoRA-64" if method == "lora" else "full"}
        for method, peaks in memory.items()
        for seed, peak in enumerate(peaks)
        for deploy in ("torch_fp32", "onnx_int8")
    ]  # fmt: skip
    runs = [a_run(method="baseline:int8", counterpart="baseline"), a_run(method="baseline", counterpart=None)]
    table = cost_of_training(pd.DataFrame(rows), runs).set_index("method")
    assert list(table.index) == ["baseline", "baseline:int8", "lora"]
    assert table["peak memory (MB)"].tolist() == ["110.00", "121.00", "50.00"]
    assert table["memory / without"].fillna("").tolist() == ["", "1.100", ""]
    assert table["s/step / without"].fillna("").tolist() == ["", "1.000", ""]
    assert table["tuning"].tolist() == ["full", "full", "LoRA-64"]
