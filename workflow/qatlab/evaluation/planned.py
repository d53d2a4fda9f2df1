"""The rows that a score artifact would have had: what tables show as failed where there is none."""

from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.kind import Kind
from qatlab.evaluation.outputs import OutputColumns, outputs
from qatlab.evaluation.scores_file import ScoreRow

# The output of a causal language model: the text itself. The columns that scores.csv has of outputs say so.
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
# Of retrieval they are the configuration's.
METRICS = {
    "reranking": ("accuracy@1", "mrr", "rank", "positive_similarity", "margin"),
    "similarity": ("spearman", "pearson"),
    "translation": ("chrf", "bleu"),
    "language_modelling": ("bits_per_byte",),
}


def planned_scores(evaluate: EvaluateConfig | None, kind: Kind) -> list[ScoreRow]:
    """The rows of scores.json without their figures: what bytes a document takes is none but a model's width tells.

    Args:
        evaluate: how embeddings are scored; None where the models have none.
        kind: of the task.
    """
    if kind in ("translation", "language_modelling"):
        return [{**TEXT_OUTPUT, "metric": metric} for metric in METRICS[kind]]
    assert evaluate is not None, "only text is scored without a configuration"
    metrics = METRICS.get(kind, evaluate.metrics)
    return [
        {**made.described(1), "doc_bytes": None, "metric": metric}
        for made in outputs(evaluate, kind)
        for metric in metrics
    ]
