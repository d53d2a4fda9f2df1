"""Held-out records: ranks among their own candidates, similarities and margins."""

import json

import numpy as np
import pandas as pd
import pytest

from qatlab.evaluation.axes import unit_length
from qatlab.evaluation.outputs import METRICS_OF_KIND, read_scores
from qatlab.job import JobDescription
from qatlab.stages import score

RECORDS, NEGATIVES, DIM = 30, 4, 20


@pytest.fixture
def inputs(tmp_path):
    generator = np.random.default_rng(2)
    texts = generator.normal(size=(RECORDS * (NEGATIVES + 1), DIM)).astype(np.float32)
    queries = texts[:: NEGATIVES + 1] + 1.5 * generator.normal(size=(RECORDS, DIM)).astype(np.float32)
    for folder in ("encode", "task"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "encode/queries.npy", queries)
    (tmp_path / "encode/similarity.json").write_text(json.dumps({"similarity": "cosine"}))
    np.save(tmp_path / "encode/documents.npy", texts)
    pd.DataFrame({"id": [f"t{at:03}" for at in range(len(texts))]}).to_parquet(tmp_path / "task/documents.parquet")
    pd.DataFrame({"id": [f"q{at:02}" for at in range(RECORDS)]}).to_parquet(tmp_path / "task/queries.parquet")
    judged = [
        (f"q{at:02}", f"t{at * (NEGATIVES + 1) + other:03}", int(other == 0))
        for at in range(RECORDS)
        for other in range(NEGATIVES + 1)
    ]
    table = pd.DataFrame(judged, columns=["query_id", "doc_id", "relevance"])
    table.to_parquet(tmp_path / "task/qrels.parquet")
    (tmp_path / "task/manifest.json").write_text(json.dumps({"kind": "reranking"}))
    return {"encode": tmp_path / "encode", "task": tmp_path / "task"}, queries, texts


def test_metrics_of_records(inputs, tmp_path):
    folders, queries, texts = inputs
    (tmp_path / "out").mkdir()
    config = {"metrics": ["ndcg@10"], "precisions": ["float32", "binary"], "scoring": ["dequantized", "mteb_compat"]}
    score.run(JobDescription(label="tried", config=config), folders, tmp_path / "out", 1)
    rows = pd.DataFrame(read_scores(tmp_path / "out"))
    assert set(rows["metric"]) == set(METRICS_OF_KIND["reranking"])
    assert set(rows["scoring"]) == {"dot", "hamming"}  # others have no such evaluation
    by_precision = rows.pivot_table(index="metric", columns="doc_precision", values="value")
    for precision, convert in (("float32", unit_length), ("binary", lambda side: np.where(side > 0, 1.0, -1.0))):
        sides = convert(queries), convert(texts).reshape(RECORDS, NEGATIVES + 1, DIM)
        scores = np.einsum("qd,qnd->qn", *sides)
        cosines = scores / (1 if precision == "float32" else DIM)
        ranks = 1 + (scores[:, 1:] >= scores[:, :1]).sum(axis=1)
        expected = {
            "accuracy@1": (ranks == 1).mean(),
            "mrr": (1 / ranks).mean(),
            "rank": ranks.mean(),
            "positive_similarity": cosines[:, 0].mean(),
            "margin": (cosines[:, 0] - cosines[:, 1:].max(axis=1)).mean(),
        }
        assert by_precision[precision].to_dict() == pytest.approx(expected, abs=1e-6)


def test_a_tie_with_a_negative_ranks_the_positive_lower(inputs, tmp_path):
    folders, _, _ = inputs
    np.save(folders["encode"] / "documents.npy", np.ones((RECORDS * (NEGATIVES + 1), DIM), dtype=np.float32))
    (tmp_path / "out").mkdir()
    score.run(
        JobDescription(label="tried", config={"metrics": ["ndcg@10"], "precisions": ["float32"]}),
        folders,
        tmp_path / "out",
        1,
    )
    scores = {row["metric"]: row["value"] for row in read_scores(tmp_path / "out")}
    assert (scores["rank"], scores["accuracy@1"], scores["margin"]) == (NEGATIVES + 1, 0, 0)
