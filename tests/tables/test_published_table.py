"""Published results beside ours: matched by their keys, at any scale."""

import pandas as pd

from conftest import AS_IT_IS
from qatlab.tables.published import figures, published

NAMES = {
    "method": {"short": "long"},
    "trainer.batch_size": {"16": 64, "32": 128},
    "task": {"a": "full_a", "b": "full_b"},
    "texts": {},
    "deploy": {"torch_fp32": "torch_fp32"},
}


def our_scores():
    rows = [
        {"run": f"short-{seed}-{batch}", "method": "short", "seed": seed, "deploy": "torch_fp32", "task": task,
         "query_precision": precision, "doc_precision": precision, "metric": "ndcg@10", "rotation": rotation,
         "value": 0.1 * seed + {"a": 0.2, "b": 0.4}[task] + (0.01 if batch == 32 else 0) + (9 if rotation == "itq" else 0),
         **AS_IT_IS, "matrix.trainer.batch_size": batch}
        for seed in (0, 1) for batch in (16, 32) for task in "ab" for precision in ("float32", "int8")
        for rotation in ("none", "itq")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def ours():
    drift = [
        {"run": f"short-{seed}-16", "method": "short", "seed": seed, "deploy": "torch_fp32", "task": "a", "min": 0.5,
         "max": 1.0, "mean": 0.9, "mean_distance": 0.1, "matrix.trainer.batch_size": 16}
        for seed in (0, 1)
    ]  # fmt: skip
    cost = [
        {"run": f"short-{seed}-16", "method": "short", "seed": seed, "deploy": deploy, "seconds_per_step": 0.5,
         "steps": 7, "train_seconds": 3.5, "peak_memory_bytes": 1e9, "bytes_on_disk": 5, "matrix.trainer.batch_size": 16}
        for seed in (0, 1) for deploy in ("torch_fp32", "onnx_int8")
    ]  # fmt: skip
    return figures([], None, our_scores(), pd.DataFrame(drift), pd.DataFrame(cost))


def theirs(*rows):
    columns = ["table", "method", "trainer.batch_size", "deploy", "task", "precision", "metric", "value", "source"]
    return pd.DataFrame([dict(zip(columns, row, strict=True)) for row in rows])


def test_results_are_matched_by_their_keys():
    file = theirs(
        ("scores", "long", "64", "torch_fp32", "mean", "int8", "ndcg@10", "0.5321", "x"),
        ("scores", "long", "128", "torch_fp32", "full_b", "float32", "ndcg@10", "0.4", "x"),
        ("drift", "long", "64", "torch_fp32", "full_a", "", "mean_distance", "0.036391", "x"),
        ("cost", "long", "64", "", "", "", "peak_memory_mb", "500", "x"),
        ("scores", "long", "64", "torch_fp32", "mean", "binary", "ndcg@10", "0.3", "x"),
        ("scores", "long", "64", "torch_fp32", "mean", "float32", "ndcg@10", "", "x"),
    )
    table = published(file, ours(), NAMES)
    assert table["ours"].fillna("").tolist() == [
        "0.3500 ± 0.0707",
        "0.4600 ± 0.0707",
        "0.100000 ± 0.000000",
        "1000 ± 0",
        "",
        "0.3500 ± 0.0707",
    ]
    assert table["ours − published"].fillna("").tolist() == ["-0.1821", "+0.0600", "+0.063609", "+500", "", ""]
    assert table["trainer.batch_size"].tolist() == ["64", "128", "64", "64", "64", "64"]
    assert table["published"].isna().tolist() == [False] * 5 + [True]


def test_other_model_sizes_are_not_matched_to_the_published_ones():
    names = {**NAMES, "trainer.batch_size": {}}
    file = theirs(("scores", "long", "64", "torch_fp32", "mean", "int8", "ndcg@10", "0.5", "x"))
    assert published(file, ours(), names)["ours"].isna().all()
