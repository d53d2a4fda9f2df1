"""Scores of the predictions of a causal language model: chrF and BLEU as sacrebleu computes them, or bits per byte."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from qatlab.artifact import read_json
from qatlab.errors import UserError
from qatlab.evaluation.outputs import TEXT_OUTPUT, Scored, ScoreRow, parts, standard_error
from qatlab.evaluation.task import MANIFEST
from qatlab.job import JobDescription
from qatlab.tables.names import TEXT

FEW = 4  # with fewer documents, each document gets the value of all


def bits_per_byte(nats: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Compute the bits of all documents over their bytes, as one value per document whose mean it is.

    The values of documents are jackknife pseudo-values (`jackknife.parts`).

    Args:
        nats: (n,) float64, −ln of each document's probability.
        sizes: (n,) number of bytes of each document in UTF-8.

    Returns:
        (n,) float64.
    """
    bits, total = nats / np.log(2), float(sizes.sum())
    whole = float(bits.sum() / total)
    if len(nats) < FEW:
        return np.full(len(nats), whole)
    return parts(whole, (bits.sum() - bits) / (total - sizes))


# The translation metrics chrF and BLEU, as sacrebleu computes them.
#
# References:
#     Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation", https://aclanthology.org/W15-3049
#     Papineni et al. 2002, "BLEU", https://aclanthology.org/P02-1040
#     Post 2018, "A call for clarity in reporting BLEU scores", https://aclanthology.org/W18-6319


def translation_metrics(hypotheses: list[str], references: list[str]) -> dict[str, np.ndarray]:
    """Compute chrF and BLEU, from 0 to 100, as one value per sentence whose mean is the score of the corpus.

    Both scores are computed from counts that are summed over sentences, so neither is a mean of sentence scores. The values of
    sentences are therefore jackknife pseudo-values (`jackknife.parts`).

    Args:
        hypotheses: Translations by the model.
        references: Reference translations in the same order.

    Returns:
        `chrf` and `bleu`, each (sentences,) float64.
    """
    return {"chrf": _parts(CHRF(), hypotheses, references), "bleu": _parts(BLEU(force=True), hypotheses, references)}


def _parts(metric: Any, hypotheses: list[str], references: list[str]) -> np.ndarray:
    """Return a metric's value for each sentence, (sentences,) float64.

    The functions of sacrebleu that are called are those of its bootstrap: the counts of each sentence, and the score of summed
    counts.
    """
    counts = np.array(metric._extract_corpus_statistics(hypotheses, [references]), dtype=np.int64)
    total = counts.sum(axis=0)
    whole = _score(metric, total)
    if len(hypotheses) < FEW:
        return np.full(len(hypotheses), whole)
    return parts(whole, np.array([_score(metric, total - one) for one in counts]))


def _score(metric: Any, counts: np.ndarray) -> float:
    return float(metric._compute_score_from_stats(counts.tolist()).score)


def score(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> Scored:
    """Return the scores of the predictions, without durations, because nothing is searched.

    Args:
        description: not used, because these metrics have no settings.
        inputs: artifacts of the job by role; `encode` has the predictions, `task` the references.
        output: not used.
        threads: not used.

    Raises:
        UserError: for predictions of another task, or of a model whose probabilities are 0 or NaN.
    """
    predictions = pq.read_table(inputs["encode"] / "predictions.parquet").to_pandas()
    queries = pq.read_table(inputs["task"] / "queries.parquet", columns=["id"])["id"].to_pylist()
    if predictions["id"].tolist() != queries:
        raise UserError("predictions are not of this task's texts; encode this task")
    if read_json(inputs["task"] / MANIFEST)["kind"] == "translation":
        references = pq.read_table(inputs["task"] / "documents.parquet", columns=["text"])["text"].to_pylist()
        results = translation_metrics(predictions["prediction"].tolist(), references)
    else:
        if not np.isfinite(predictions["nats"]).all():
            raise UserError(
                "log-probabilities of some texts are infinite or NaN, because the training diverged; lower its learning rate"
            )
        results = {"bits_per_byte": bits_per_byte(predictions["nats"].to_numpy(), predictions["bytes"].to_numpy())}
    rows: list[ScoreRow] = [
        {
            **TEXT_OUTPUT,
            "metric": metric,
            "value": float(values.mean()),
            "stderr": standard_error(values),
            "queries": len(values),
        }
        for metric, values in results.items()
    ]
    columns = {f"{TEXT}/{metric}": values for metric, values in results.items()}
    return Scored({"query_id": queries, **columns}, rows, [])
