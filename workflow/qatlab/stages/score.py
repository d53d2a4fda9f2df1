"""Stage score: scores of a task, from one pass of a model over it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from qatlab.artifact import write_json
from qatlab.evaluation.outputs import Scored, write_scores
from qatlab.job import JobDescription, part_of


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write scores.json, per_query.parquet and timings.json, and for integer precisions of embeddings quantization_ranges/.

    scores.json has the mean of each metric at each output, per_query.parquet the value of each query, pair or text, timings.json the
    durations of searches, and quantization_ranges/ the ranges of the index.
    """
    scored: Scored = part_of(description, "score").score(description, inputs, output, threads)
    pq.write_table(pa.table(scored.columns), output / "per_query.parquet")
    write_scores(output, scored.scores)
    write_json(output / "timings.json", scored.timings)
