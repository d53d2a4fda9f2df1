"""The files of a study's tables/ folder, and what metrics are called in them."""

LONG = ("scores.csv", "drift.csv", "cost.csv")
WIDE = ("scores_by_precision", "all_metrics", "qat_minus_ptq", "drift_summary", "cost_summary")
FORMS = ("csv", "md", "tex")
METRIC_NAMES = {"ndcg": "nDCG", "mrr": "MRR", "recall": "Recall", "accuracy": "Accuracy"}


def metric_label(metric: str) -> str:
    """'ndcg@10' → 'nDCG@10'."""
    name, _, cutoff = metric.partition("@")
    return f"{METRIC_NAMES.get(name, name)}@{cutoff}"
