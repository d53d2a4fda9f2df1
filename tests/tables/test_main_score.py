"""Each task has one main score, whatever its kind."""

import pandas as pd

from qatlab.tables.labels import MAIN, main_label, main_metrics, main_scores

KINDS = {"a": "retrieval", "b": "retrieval", "sts": "similarity", "held": "reranking"}


def test_each_kind_has_its_own():
    metrics = main_metrics(KINDS, "ndcg@10")
    assert metrics == {"a": "ndcg@10", "b": "ndcg@10", "sts": "spearman", "held": "accuracy@1"}
    assert main_label(metrics) == "main score (nDCG@10; Spearman's ρ of sts; Accuracy@1 of held)"
    assert main_label({"a": "mrr@10", "b": "mrr@10"}) == "MRR@10"


def test_rows_of_main_scores():
    rows = [("a", "ndcg@10", 0.5), ("a", "mrr@10", 0.4), ("sts", "spearman", 0.8), ("sts", "pearson", 0.7)]
    scores = pd.DataFrame(rows, columns=["task", "metric", "value"])
    chosen, name = main_scores(scores, main_metrics({"a": "retrieval", "sts": "similarity"}, "ndcg@10"))
    assert (name, chosen["value"].tolist(), set(chosen["metric"])) == (MAIN, [0.5, 0.8], {MAIN})
    chosen, name = main_scores(scores, {"a": "ndcg@10"})
    assert (name, chosen["value"].tolist()) == ("ndcg@10", [0.5])
