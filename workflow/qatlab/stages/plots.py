"""plots: a study's figures as pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qatlab.plots import drift, scores, style, training_loss


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes plots/ with scores, training_loss and drift as .svg and .png, each where the study has such figures."""
    config, results = description["config"], inputs["results"]
    folder = output / "plots"
    folder.mkdir()
    style.use_style()
    table = pd.read_csv(inputs["tables"] / "scores.csv")
    style.save(scores.draw(table, config["primary_metric"], config["title"]), folder, "scores")
    logs = {
        run["run"]: pd.read_csv(results / run["trained"] / "log.csv")
        for run in config["runs"]
        if run["trained"].startswith("train/")
    }
    if logs:
        style.save(training_loss.draw(logs, config["title"]), folder, "training_loss")
    cosines = _cosines(config["runs"], results)
    if cosines:
        style.save(drift.draw(cosines, config["runs"][0]["drift_reference"], config["title"]), folder, "drift")


def _cosines(runs: list[dict[str, Any]], results: Path) -> dict[str, dict[str, np.ndarray]]:
    parts: dict[str, dict[str, list[np.ndarray]]] = {}
    for run in runs:
        for entry in run["evaluations"]:
            if "drift" in entry:
                values = np.load(results / entry["drift"] / "cosines.npy", allow_pickle=False)
                parts.setdefault(entry["deploy"], {}).setdefault(run["method"], []).append(values)
    return {
        deploy: {method: np.concatenate(values) for method, values in by_method.items()}
        for deploy, by_method in parts.items()
    }
