"""The rows that a missing score artifact would contain, which tables show as failed."""

from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.kind import Kind
from qatlab.evaluation.outputs import OutputColumns, outputs
from qatlab.evaluation.scores_file import ScoreRow

# The output of a causal language model, which is text, in the columns of scores.csv that describe outputs.
TEXT_OUTPUT: OutputColumns = {
    "query_precision": "text",
    "doc_precision": "text",
    "rotation": "none",
    "doc_bytes": None,
    "scoring": "none",
    "ranges": "none",
    "rescoring": "none",
    "dimensions": None,
    "index": "flat",
    "fitted_on": "none",
}
# Metrics of each kind of task except retrieval, whose metrics are configured.
METRICS = {
    "reranking": ("accuracy@1", "mrr", "rank", "positive_similarity", "margin"),
    "similarity": ("spearman", "pearson"),
    "translation": ("chrf", "bleu"),
    "language_modelling": ("bits_per_byte",),
}


def planned_scores(evaluate: EvaluateConfig | None, kind: Kind) -> list[ScoreRow]:
    """Return the rows of scores.json without values and without the bytes per document, which depend on the model's dimensions.

    Args:
        evaluate: How embeddings are scored; None where the models have none.
        kind: Kind of the task.
    """
    if kind in ("translation", "language_modelling"):
        return [{**TEXT_OUTPUT, "metric": metric} for metric in METRICS[kind]]
    assert evaluate is not None, "only text is scored without a configuration"
    metrics = METRICS.get(kind, evaluate.metrics)
    return [
        {**output.described(1), "doc_bytes": None, "metric": metric}
        for output in outputs(evaluate, kind)
        for metric in metrics
    ]
