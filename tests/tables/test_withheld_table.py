"""Held-out triplets by variant: means and shares of ranks, over seeds."""

import json

import numpy as np
import pandas as pd
import pytest

from qatlab.evaluation.outputs import write_scores
from qatlab.tables.differences import withheld
from records import a_run

RANKS = {0: [1, 1, 2, 12], 1: [1, 3, 5, 1]}


@pytest.fixture
def runs(tmp_path):
    runs = []
    for seed, ranks in RANKS.items():
        folder = tmp_path / f"score{seed}"
        folder.mkdir()
        (tmp_path / "encode").mkdir(exist_ok=True)
        (tmp_path / "encode/machine.json").write_text(json.dumps({"integer_kernel": None}))
        values = {
            "accuracy@1": [float(rank == 1) for rank in ranks],
            "mrr": [1 / rank for rank in ranks],
            "rank": [float(rank) for rank in ranks],
            "positive_similarity": [0.5, 0.6, 0.7, 0.8],
            "margin": [0.1, -0.2, 0.0, -0.1],
        }
        usual = {"query_precision": "float32", "doc_precision": "float32", "scoring": "dot", "ranges": "none",
                 "rescoring": "none", "dimensions": None, "index": "flat", "rotation": "none", "doc_bytes": 16}  # fmt: skip
        scores = [{"metric": name, "value": float(np.mean(v)), **usual} for name, v in values.items()]
        write_scores(folder, scores)
        pd.DataFrame({f"none/float32/dot/{name}": v for name, v in values.items()}).to_parquet(
            folder / "per_query.parquet"
        )
        entries = [{"deploy": "torch_fp32", "task": "held", "encode": "encode", "score": f"score{seed}"}]
        runs.append(a_run(method="baseline", seed=seed, varied={}, evaluations=entries))
    return runs


def test_means_and_shares(runs, tmp_path):
    (row,) = withheld(runs, tmp_path, ["held"]).to_dict("records")
    assert row == {
        "method": "baseline",
        "deploy": "torch_fp32",
        "output precision": "float32",
        "Accuracy@1": "0.5000",
        "MRR": f"{(1 + 1 + 1 / 2 + 1 / 12 + 1 + 1 / 3 + 1 / 5 + 1) / 8:.4f}",
        "positive similarity": "0.6500",
        "margin": "-0.0500",
        "rank 1": "50.0%",
        "2–3": "25.0%",
        "4–10": "12.5%",
        "over 10": "12.5%",
        "records": 4,
    }
