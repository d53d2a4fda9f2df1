"""The planned rows of a missing score are those that the stage `score` writes."""

import json

import numpy as np
import pandas as pd
import pytest

from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.outputs import METRICS_OF_KIND, planned_scores, read_scores
from qatlab.families.causal_lm import score as translation
from qatlab.job import JobDescription
from qatlab.stages import score

FIGURES = ("value", "stderr", "queries", "doc_bytes")
CONFIG = {
    "metrics": ["ndcg@10", "mrr@10"],
    "precisions": ["float32", "int8", "binary", "float32_x_binary"],
    "scoring": ["dequantized", "codes", "sentence_transformers_compat"],
    "ranges": ["corpus", "per_call"],
    "rescoring": ["none", "float32"],
    "rotations": ["none", "itq"],
    "bit_axes": ["centred", "itq", {"kind": "none", "center": "median", "fitted_on": "training"}],
    "dimensions": [None, 8],
}


def test_every_output_and_metric_in_the_same_order(tmp_path):
    generator = np.random.default_rng(0)
    encode, task, scored, training = (tmp_path / name for name in ("encode", "task", "score", "training"))
    for folder in (encode, task, scored, training):
        folder.mkdir()
    np.save(training / "documents.npy", generator.normal(size=(30, 16)).astype(np.float32))
    for name, count in (("documents", 40), ("queries", 20)):
        np.save(encode / f"{name}.npy", generator.normal(size=(count, 16)).astype(np.float32))
        pd.DataFrame({"id": [f"{name}{i:02}" for i in range(count)]}).to_parquet(task / f"{name}.parquet")
    rows = [{"query_id": f"queries{i:02}", "doc_id": f"documents{i:02}", "relevance": 1} for i in range(20)]
    pd.DataFrame(rows).to_parquet(task / "qrels.parquet")
    (task / "manifest.json").write_text(json.dumps({"kind": "retrieval"}))
    (encode / "similarity.json").write_text(json.dumps({"similarity": "cosine"}))
    score.run(
        JobDescription(label="tried", config=CONFIG), {"encode": encode, "task": task, "training": training}, scored, 1
    )
    written = [{key: row[key] for key in row if key not in FIGURES} for row in read_scores(scored)]
    planned = planned_scores(EvaluateConfig.model_validate(CONFIG), "retrieval")
    planned = [{key: row[key] for key in row if key not in FIGURES} for row in planned]
    assert planned == written
    assert {row["fitted_on"] for row in written} == {"none", "corpus", "training"}
    assert len(written) > 40


def test_other_kinds_have_the_metrics_of_their_modules():
    assert tuple(translation.translation_metrics(["a b", "c"], ["a b", "c d"])) == METRICS_OF_KIND["translation"]
    evaluate = EvaluateConfig(metrics=["ndcg@10"], precisions=["int8"])
    assert [row["metric"] for row in planned_scores(evaluate, "similarity")] == ["spearman", "pearson"]


@pytest.mark.parametrize(
    ("kind", "metrics"), [("translation", ["chrf", "bleu"]), ("language_modelling", ["bits_per_byte"])]
)
def test_texts_have_one_output(kind, metrics):
    rows = planned_scores(None, kind)
    assert [row["metric"] for row in rows] == metrics
    assert {row["doc_precision"] for row in rows} == {"text"}
