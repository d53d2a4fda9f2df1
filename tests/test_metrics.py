"""Metrics, compared with trec_eval."""

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from qatlab.metrics import per_query

ORACLE = {
    "ndcg@3": "ndcg_cut_3",
    "ndcg@10": "ndcg_cut_10",
    "recall@5": "recall_5",
    "accuracy@1": "success_1",
    "mrr@20": "recip_rank",
}


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_equal_to_trec_eval(seed):
    generator = np.random.default_rng(seed)
    documents, queries = 20, 4
    scores = generator.permuted(np.tile(np.arange(documents, dtype=float), (queries, 1)), axis=1)  # no ties
    grades = generator.integers(0, 4, size=(queries, documents)) * (generator.random((queries, documents)) < 0.3)
    grades[:, 0] = np.maximum(grades[:, 0], 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    gains = np.take_along_axis(grades, order, axis=1)
    judged = [[int(g) for g in row if g > 0] for row in grades]
    qrels = {f"q{q}": {f"d{d}": int(grades[q, d]) for d in range(documents)} for q in range(queries)}
    run = {f"q{q}": {f"d{d}": float(scores[q, d]) for d in range(documents)} for q in range(queries)}
    expected = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.3,10", "recall.5", "success.1", "recip_rank"}).evaluate(
        run
    )
    for metric, name in ORACLE.items():
        ours = per_query(metric, gains, judged)
        assert ours == pytest.approx([expected[f"q{q}"][name] for q in range(queries)], abs=1e-9), metric


def test_reciprocal_rank_is_cut_at_k():
    gains = np.array([[0, 0, 0, 1]])
    assert per_query("mrr@3", gains, [[1]]).tolist() == [0.0]
    assert per_query("mrr@4", gains, [[1]]).tolist() == [0.25]


def test_unknown_metric():
    with pytest.raises(ValueError, match="valid: ndcg@k"):
        per_query("f1@3", np.zeros((1, 1)), [[1]])
