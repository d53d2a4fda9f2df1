"""score_predictions: a task's figures from what a causal language model predicted."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qatlab.artifact import read_json, write_json
from qatlab.errors import UserError
from qatlab.evaluation.planned import TEXT_OUTPUT
from qatlab.evaluation.scores_file import standard_error, write_scores
from qatlab.evaluation.task import MANIFEST
from qatlab.tables.names import TEXT


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes scores.json, per_query.parquet (each text's part in each figure) and timings.json (nothing is searched)."""
    predictions = pq.read_table(inputs["predict"] / "predictions.parquet").to_pandas()
    queries = pq.read_table(inputs["task"] / "queries.parquet", columns=["id"])["id"].to_pylist()
    if predictions["id"].tolist() != queries:
        raise UserError("predictions are not of this task's texts; predict this very task")
    if read_json(inputs["task"] / MANIFEST)["kind"] == "translation":
        from qatlab.evaluation.translation import translation_figures

        references = pq.read_table(inputs["task"] / "documents.parquet", columns=["text"])["text"].to_pylist()
        figures = translation_figures(predictions["prediction"].tolist(), references)
    else:
        from qatlab.evaluation.language_modelling import bits_per_byte

        if not np.isfinite(predictions["nats"]).all():
            raise UserError("the model finds texts impossible, or gives NaN; its training has diverged")
        figures = {"bits_per_byte": bits_per_byte(predictions["nats"].to_numpy(), predictions["bytes"].to_numpy())}
    rows = [
        {
            **TEXT_OUTPUT,
            "metric": metric,
            "value": float(values.mean()),
            "stderr": standard_error(values),
            "queries": len(values),
        }
        for metric, values in figures.items()
    ]
    columns = {f"{TEXT}/{metric}": values for metric, values in figures.items()}
    pq.write_table(pa.table({"query_id": queries, **columns}), output / "per_query.parquet")
    write_scores(output, rows)
    write_json(output / "timings.json", [])
