"""A study's results on disk with given scores per query, as the stages write them, for what is concluded from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from qatlab.artifact import write_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.outputs import TEXT_OUTPUT, OutputColumns, ScoreRow, outputs, write_scores
from qatlab.study.record import StudyRecord
from qatlab.tables.gathered import Gathered
from qatlab.tables.labels import output_label
from qatlab.tables.missing import Missing
from records import a_study

DIM = 384
DEPLOYMENTS = {  # configuration, bytes on disk, texts per second
    "torch_fp32": ({"backend": "torch"}, 60_000_000, 100.0),
    "torchao:int8": ({"backend": "torch", "weights": {"name": "int8"}}, 20_000_000, 200.0),
}
Scores = Mapping[tuple[str, str, str], Sequence[np.ndarray]]
"""Scores per query, one array of shape (queries,) for each seed, keyed by method, deployment and output.

The output is the precision, such as "int8", preceded by the label of rotated axes, as in "itq: binary".
"""


def write_study(
    results: Path, scores: Scores, metric: str = "ndcg@10", kind: str = "retrieval", **values: object
) -> StudyRecord:
    """Write the artifacts and the record of a study with one task, and return the record.

    Args:
        results: the folder to write into.
        scores: what the study scored; an untrained method, called "untrained", has one list.
        metric: the main metric.
        kind: kind of the task.
        **values: further values of the record; `evaluate` has the outputs.
    """
    evaluate = values.get("evaluate", {"metrics": [metric]}) if kind == "retrieval" else None
    runs, seeds = [], {method: len(lists) for (method, _, _), lists in scores.items()}
    deployments = list(dict.fromkeys(deploy for _, deploy, _ in scores))
    for method, count in seeds.items():
        trains = method != "untrained"
        for seed in range(count):
            name = f"{method}-seed={seed}" if trains else method
            entries = []
            for deploy in dict.fromkeys(deploy for other, deploy, _ in scores if other == method):
                part = f"{method}-{seed}-{deploy.replace(':', '-')}"
                own = {output: lists[seed] for (m, d, output), lists in scores.items() if (m, d) == (method, deploy)}
                _write_artifacts(results, part, deploy, own, metric, evaluate)
                entries.append({"deploy": deploy, "task": "code", "encode": f"encode/{part}", "score": f"score/{part}"})
            deployed = {entry["deploy"]: entry["encode"].replace("encode", "deploy", 1) for entry in entries}
            run = {"name": name, "method": method, "seed": seed if trains else None, "evaluations": entries}
            runs.append({**run, "trained": f"{'train' if trains else 'model'}/{name}", "deployed": deployed})
            if trains:
                (results / "train" / name).mkdir(parents=True)
                write_json(results / "train" / name / "cost.json", {"seconds": 1.0, "device": "cpu"})
    record = a_study(
        **{
            "main_metrics": {"code": metric},
            "primary_metric": metric,
            "kinds": {"code": kind},
            "axes": [{"label": label, "words": label} for label in _axes(evaluate)],
            "deployments": deployments,
            "quantized": [name for name in deployments if name.startswith("torchao")],
            "runs": runs,
            **values,
            "evaluate": evaluate,
        }
    )
    (results / "plan" / "study").mkdir(parents=True)
    description = {"kind": "study", "name": record.name, "config": record.model_dump(mode="json")}
    write_json(results / "plan" / "study" / f"{record.name}.json", description)
    return record


def gathered(results: Path, scores: Scores, missing: Missing | None = None, **values: object) -> Gathered:
    """Write a study and return its results."""
    return Gathered(write_study(results, scores, **values), results, missing=missing or Missing())


def _axes(evaluate: object) -> list[str]:
    if evaluate is None:
        return []
    config = EvaluateConfig.model_validate(evaluate)
    return [axes.label for axes in (*config.rotations, *config.bit_axes)]


def _write_artifacts(
    results: Path, part: str, deploy: str, scores: dict[str, np.ndarray], metric: str, evaluate: object
) -> None:
    config, size, speed = DEPLOYMENTS[deploy]
    for kind in ("deploy", "encode", "score"):
        (results / kind / part).mkdir(parents=True)
    write_json(results / "deploy" / part / "config.json", {"config": config})
    write_json(results / "deploy" / part / "cost.json", {"bytes": size})
    write_json(results / "encode" / part / "cost.json", {"texts": 1000, "seconds": 1000 / speed, "device": "cpu"})
    write_json(results / "encode" / part / "machine.json", {"integer_kernel": None})
    write_json(results / "encode" / part / "similarity.json", {"similarity": "cosine"})
    write_json(results / "encode" / part / "config.json", {"config": {"prompt": "French of {source}:"}})
    rows: list[ScoreRow] = []
    timings, columns = [], {}
    for label, (name, described, stored) in _outputs(evaluate).items():
        if label in scores:
            values = scores[label]
            columns[f"{name}/{metric}"] = values
            rows.append(
                {**described, "metric": metric, "value": float(values.mean()), "stderr": 0.0, "queries": len(values)}
            )
            if evaluate is not None:
                timings.append({**described, "stored_bytes": stored, "queries_per_second": 1.0, "threads": 1})
    assert len(rows) == len(scores), (list(scores), list(_outputs(evaluate)))
    write_scores(results / "score" / part, rows)
    write_json(results / "score" / part / "timings.json", timings)
    queries = [f"q{at}" for at in range(len(next(iter(scores.values()))))]
    pd.DataFrame({"query_id": queries, **columns}).to_parquet(results / "score" / part / "per_query.parquet")


def _outputs(evaluate: object) -> dict[str, tuple[str, OutputColumns, int]]:
    if evaluate is None:
        return {"text": ("text", TEXT_OUTPUT, 0)}
    described = {}
    for output in outputs(EvaluateConfig.model_validate(evaluate)):
        columns = output.described(DIM)
        label = output_label(columns)
        axes = "" if columns["rotation"] == "none" else f"{columns['rotation']}: "
        described[axes + label] = (output.name, columns, output.stored_bytes(DIM))
    return described
