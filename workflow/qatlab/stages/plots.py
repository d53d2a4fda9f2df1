"""plots: a study's figures as pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from qatlab.arrays import load_array
from qatlab.plots import drift, gradient, pareto, published, scores, style, training_loss, waterfall
from qatlab.tables.bits_changed import compared_deployment
from qatlab.tables.main_score import main_label, main_scores
from qatlab.tables.missing import OK, STATUS, Missing, in_words, incomplete_runs, read_missing
from qatlab.tables.names import is_simulation
from qatlab.tables.outputs import on_axes
from qatlab.tables.published import scale_note


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes plots/: published, scores, training_loss, gradient, drift, waterfall, pareto as .svg and .png.

    Each is there where the study has such figures. What an input `missing` says is not there is left out, and named in the titles.
    """
    config, results, missing = description["config"], inputs["results"], read_missing(inputs)
    folder = output / "plots"
    folder.mkdir()
    style.use_style()
    table, search = (pd.read_csv(inputs["tables"] / f"{name}.csv") for name in ("scores", "search"))
    incomplete = incomplete_runs(config["runs"], missing)
    title = config["title"] + (f"\n{in_words(incomplete)}; what they lack is left out" if incomplete else "")
    planned, metric = main_scores(on_axes(table, config["chosen_axes"]), config["main_metrics"])
    main, methods = planned[planned[STATUS] == OK], list(dict.fromkeys(planned["method"]))
    drawn = scores.draw(main, metric, title, main_label(config["main_metrics"]), methods) if len(main) else None
    style.save(drawn or style.nothing(title), folder, "scores")
    trained = [run for run in config["runs"] if run["trained"].startswith("train/")]
    logs = {
        run["run"]: pd.read_csv(results / run["trained"] / "log.csv")
        for run in trained
        if missing.status(run["trained"]) == OK
    }
    if trained:
        style.save(training_loss.draw(logs, title) if logs else style.nothing(title), folder, "training_loss")
    if any(run["trains_for"] for run in trained):
        drawn = _gradient(config, logs, inputs["tables"], title)
        style.save(drawn or style.nothing(title), folder, "gradient")
    cosines = _cosines(config["runs"], results, missing)
    if cosines:
        any_left = any(len(values) for by_method in cosines.values() for values in by_method.values())
        style.save(drift.draw(cosines, title) if any_left else style.nothing(title), folder, "drift")
    if "published" in config["views"]:
        beside = _as_text(inputs["tables"], "published")
        style.save(published.draw(beside, title, scale_note(config)), folder, "published")
    if "decomposition" in config["views"]:
        steps = waterfall.whole(_as_text(inputs["tables"], "decomposition"))
        drawn = waterfall.draw(steps, config["primary_metric"], title) if len(steps) else None
        style.save(drawn or style.nothing(title), folder, "waterfall")
    if "pareto" in config["views"]:
        points = pareto.draw(table, search, config["primary_metric"], title)
        style.save(points or style.nothing(title), folder, "pareto")


def _as_text(folder: Path, name: str) -> pd.DataFrame:
    """A table whose cells say what they say there, and "–" where there is nothing."""
    return pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)


def _gradient(config: dict[str, Any], logs: dict[str, pd.DataFrame], folder: Path, title: str) -> Figure | None:
    """The plot `gradient`; None where every run is missing of it."""
    compared = "bits_changed" in config["views"]
    tables = (_as_text(folder, "bits_changed"), _as_text(folder, "against_baseline")) if compared else None
    runs, label = config["runs"], main_label(config["main_metrics"])
    return gradient.draw(runs, logs, tables, config["baseline"], label, compared_deployment(runs), title)


def _cosines(
    runs: list[dict[str, Any]], results: Path, missing: Missing
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """By deployment and reference, by method, the cosines that are there of all tasks, sets of texts and seeds.

    What training saw has a table: parity.
    """
    parts: dict[tuple[str, str], dict[str, list[np.ndarray]]] = {}
    for run in runs:
        for entry in run["evaluations"]:
            for reference, path in entry["drift"].items():
                if is_simulation(reference):
                    continue
                by_method = parts.setdefault((entry["deploy"], reference), {})
                values = by_method.setdefault(run["method"], [np.empty(0)])
                if missing.status(path) == OK:
                    values.append(load_array(results / path / "cosines.npy"))
    return {
        pair: {method: np.concatenate(values) for method, values in by_method.items()}
        for pair, by_method in parts.items()
    }
