"""Scores of a task from the predictions of a causal language model: chrF and BLEU, or bits per byte."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from qatlab.artifact import read_json
from qatlab.errors import UserError
from qatlab.evaluation.scores_file import TEXT_OUTPUT, Scored, ScoreRow, standard_error
from qatlab.evaluation.task import MANIFEST
from qatlab.job import JobDescription
from qatlab.tables.names import TEXT


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
        from qatlab.evaluation.translation import translation_metrics

        references = pq.read_table(inputs["task"] / "documents.parquet", columns=["text"])["text"].to_pylist()
        results = translation_metrics(predictions["prediction"].tolist(), references)
    else:
        from qatlab.evaluation.language_modelling import bits_per_byte

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
