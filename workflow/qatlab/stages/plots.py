"""plots: a study's figures as pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qatlab.arrays import load_array
from qatlab.plots import drift, pareto, published, scores, style, training_loss, waterfall
from qatlab.tables.main_score import main_label, main_scores
from qatlab.tables.names import is_simulation
from qatlab.tables.published import scale_note


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes plots/: published, scores, training_loss, drift, waterfall, pareto as .svg and .png, where the study has such figures."""
    config, results = description["config"], inputs["results"]
    folder = output / "plots"
    folder.mkdir()
    style.use_style()
    table = pd.read_csv(inputs["tables"] / "scores.csv")
    main, metric = main_scores(table, config["main_metrics"])
    style.save(scores.draw(main, metric, config["title"], main_label(config["main_metrics"])), folder, "scores")
    logs = {
        run["run"]: pd.read_csv(results / run["trained"] / "log.csv")
        for run in config["runs"]
        if run["trained"].startswith("train")
    }
    if logs:
        style.save(training_loss.draw(logs, config["title"]), folder, "training_loss")
    cosines = _cosines(config["runs"], results)
    if cosines:
        style.save(drift.draw(cosines, config["title"]), folder, "drift")
    if "published" in config["views"]:
        beside = pd.read_csv(inputs["tables"] / "published.csv", dtype=str, keep_default_na=False)
        style.save(published.draw(beside, config["title"], scale_note(config)), folder, "published")
    if "decomposition" in config["views"]:
        # As text: a cell says what it says in the table, and "–" where there is nothing.
        steps = pd.read_csv(inputs["tables"] / "decomposition.csv", dtype=str, keep_default_na=False)
        style.save(waterfall.draw(steps, config["primary_metric"], config["title"]), folder, "waterfall")
    if "pareto" in config["views"]:
        search = pd.read_csv(inputs["tables"] / "search.csv")
        style.save(pareto.draw(table, search, config["primary_metric"], config["title"]), folder, "pareto")


def _cosines(runs: list[dict[str, Any]], results: Path) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """By deployment and reference, by method: of all tasks, sets of texts and seeds. What training saw has a table: parity."""
    parts: dict[tuple[str, str], dict[str, list[np.ndarray]]] = {}
    for run in runs:
        for entry in run["evaluations"]:
            for reference, path in entry["drift"].items():
                if not is_simulation(reference):
                    values = load_array(results / path / "cosines.npy")
                    parts.setdefault((entry["deploy"], reference), {}).setdefault(run["method"], []).append(values)
    return {
        pair: {method: np.concatenate(values) for method, values in by_method.items()}
        for pair, by_method in parts.items()
    }
