"""tables: every figure of a study in long tables, and wide views of them for people."""

from pathlib import Path
from typing import Any

import pandas as pd

from qatlab.artifact import write_json
from qatlab.tables import long, wide
from qatlab.tables.answers import answers
from qatlab.tables.bits import bits
from qatlab.tables.bits_changed import bits_changed, compared_deployment
from qatlab.tables.cost_of_training import cost_of_training
from qatlab.tables.decomposition import decomposition, read_chains
from qatlab.tables.differences import against_baseline, against_float
from qatlab.tables.drift_and_loss import drift_and_loss
from qatlab.tables.drift_budget import drift_budget
from qatlab.tables.harmless import write_csv
from qatlab.tables.machines import kernel_note
from qatlab.tables.main_score import main_label, main_scores
from qatlab.tables.missing import Missing, in_words, incomplete_runs, read_missing
from qatlab.tables.names import LOWER_IS_BETTER, TEXT, is_simulation, metric_label
from qatlab.tables.outputs import on_axes
from qatlab.tables.pareto import FITTED, pareto
from qatlab.tables.parity import SAME_GRID, parity
from qatlab.tables.per_query import per_query
from qatlab.tables.published import figures, published, read_published, scale_note
from qatlab.tables.twins import qat_minus_ptq
from qatlab.tables.withheld import withheld

FLOATS = "%.6f"


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes runs.csv, study.json and tables/ with scores, drift, cost and search as .csv, and wide views as .csv, .md and .tex.

    An input `missing` (see `qatlab.plan.unfinished`) names the artifacts that are not there; tables show them as failed or not run.
    """
    config, results, missing = description["config"], inputs["results"], read_missing(inputs)
    folder = output / "tables"
    folder.mkdir()
    scores = long.scores(config["study"], config["runs"], results, missing)
    drift = long.drift(config["runs"], results, missing)
    tasks_withheld = [task for task, kind in config["kinds"].items() if kind == "reranking"]
    cost = long.cost(config["runs"], results, tasks_withheld, missing)
    write_csv(scores, folder / "scores.csv", FLOATS)
    write_csv(drift, folder / "drift.csv", "%.9f")
    write_csv(cost, folder / "cost.csv", FLOATS)
    search = long.search(config["runs"], results, missing)
    write_csv(search, folder / "search.csv", FLOATS)
    write_csv(long.runs_table(config["runs"], missing), output / "runs.csv")
    runs, incomplete = config["runs"], incomplete_runs(config["runs"], missing)
    seeds = scores["seed"].nunique()
    over = f"{seeds} seeds, ± standard deviation" if seeds > 1 else "one seed"
    chosen = on_axes(scores, config["chosen_axes"])
    views = _views(chosen, drift, cost, config, over) | _differences(config, results, scores, cost, missing)
    about = {key: config[key] for key in ("study", "title", "scale", "question")}
    write_json(output / "study.json", {**about, "runs": len(runs), "incomplete": incomplete})
    if "published" in inputs:
        theirs = read_published(inputs["published"])
        title = f"Published figures ({'; '.join(dict.fromkeys(theirs['source']))}) beside ours at {scale_note(config)}"
        views["published"] = (
            published(theirs, figures(runs, results, chosen, drift, cost, missing), config["stands_for"]),
            f"{title} ({over}){kernel_note(scores)}",
        )
    if "withheld" in config["views"]:
        title = "Withheld records: each query's answer among its own hard negatives"
        views["withheld"] = (
            withheld(runs, results, tasks_withheld, missing, config["chosen_axes"]),
            f"{title} ({over.partition(',')[0]}){kernel_note(scores)}",
        )
    if "pareto" in config["views"]:
        metric = config["primary_metric"]
        title = f"{metric_label(metric)} by bytes per document, copies for rescoring included: each output with the method that scores best"
        table = pareto(scores, search, metric)
        rule = "; none is beaten by what was fitted on more of what is searched" if FITTED in table else ""
        views["pareto"] = (table, f"{title}{rule}{kernel_note(scores)}")
    if "bits_changed" in config["views"]:
        title = f"Share of the corpus's bits that differ from {config['baseline']}'s of the same seed, in {compared_deployment(runs)}"
        views["bits_changed"] = (bits_changed(runs, results, config["baseline"], missing), f"{title} ({over})")
    if any(run["budgets"] for run in runs):
        title = "Drift of quantized ONNX files against their budget: mean cosine distance to the float file, on training texts"
        views["drift_budget"] = (drift_budget(runs, results, missing), title)
    lacks = f" – {in_words(incomplete)}" if incomplete else ""
    for name, (table, title) in views.items():
        wide.write_all_forms(table, folder, name, title + lacks)


def _views(
    scores: pd.DataFrame, drift: pd.DataFrame, cost: pd.DataFrame, config: dict[str, Any], over: str
) -> dict[str, tuple[pd.DataFrame, str]]:
    """The wide tables that the study has figures for, with their titles."""
    runs, label, note = config["runs"], main_label(config["main_metrics"]), kernel_note(scores)
    main, metric = main_scores(scores, config["main_metrics"])
    by = "" if scores["query_precision"].eq(TEXT).all() else " by output precision"
    views = {
        "scores_by_precision": (
            wide.scores_by_precision(main, metric),
            f"{label}{by} ({over}){note}",
        ),
        "all_metrics": (wide.all_metrics(scores), f"All metrics, mean of the tasks ({over}){note}"),
        "cost_summary": (
            wide.cost_summary(cost, "withheld" in config["views"]),
            "Cost (medians; memory is peak resident, or allocated on a GPU)",
        ),
    }
    simulated = drift["reference"].map(is_simulation).astype(bool)
    if simulated.any():
        title = "Least (mean) cosine similarity of a text to the fake-quantized forward pass of training"
        views["parity"] = (
            parity(drift, runs),
            f"{title}; at {SAME_GRID:g} or more the grids are one{kernel_note(drift)}",
        )
    if not simulated.all():
        views["drift_summary"] = (
            wide.drift_summary(drift),
            f"Cosine similarity to {_references(drift)}, text by text{kernel_note(drift)}",
        )
        correlation = drift_and_loss(drift[~simulated], main, runs, metric)
        views["drift_and_loss"] = (
            correlation,
            f"Rank correlation of drift with the loss of {label}, over deployments and tasks",
        )
    if "cost_of_training" in config["views"]:
        title = "Cost of a training step by scheme, and over the same training without it"
        views["cost_of_training"] = (
            cost_of_training(cost, runs),
            f"{title} (medians; memory is peak resident, or allocated on a GPU)",
        )
    return views


def _differences(
    config: dict[str, Any], results: Path, scores: pd.DataFrame, cost: pd.DataFrame, missing: Missing
) -> dict[str, tuple[pd.DataFrame, str]]:
    """The planned tables of differences, with their titles."""
    runs, baseline, plain = config["runs"], config["baseline"], config["float"]
    on_all_axes = per_query(runs, results, config["main_metrics"], missing)
    figures = on_all_axes.on_axes(config["chosen_axes"])
    varied = list(runs[0]["varied"])
    seeds = scores["seed"].nunique()
    drawn = f"queries and {seeds} seeds" if seeds > 1 else "queries; one seed"
    label = main_label(config["main_metrics"])
    judged = f"95 % intervals over {drawn}{kernel_note(scores)}"
    lower_is_better = set(config["main_metrics"].values()) <= set(LOWER_IS_BETTER)
    what = "texts" if scores["query_precision"].eq(TEXT).all() else "float32"
    axes = {described["label"]: described["words"] for described in config["axes"]}
    levels, chains = read_chains(runs, results, config["primary_metric"], missing)
    with_seeds = "; ± is the standard deviation over seeds" if seeds > 1 else ""
    asked = config["answers"] if "answers" in config["views"] else []
    views = {
        "answers": (
            answers(asked, figures, cost, varied, label, lower_is_better),
            f"{config['question'] or config['title']} ({judged}; costs: over seeds)",
        ),
        "against_baseline": (
            against_baseline(figures, baseline, varied, lower_is_better),
            f"{label}, mean of the tasks: each method less {baseline}, shipped alike ({judged})",
        ),
        "against_float": (
            against_float(figures, plain, varied, lower_is_better),
            f"{label}, mean of the tasks: what is shipped less the same model's {what} in {plain} ({judged})",
        ),
        "bits": (
            bits(on_all_axes, baseline, axes, varied) if "bits" in config["views"] else pd.DataFrame(),
            f"{label}, mean of the tasks: bits on axes of their own, beside axes that need no training ({judged}{with_seeds})",
        ),
        "decomposition": (
            decomposition(levels, chains, varied),
            f"{metric_label(config['primary_metric'])}, mean of the retrieval tasks: the way from the float model to what is "
            f"shipped, by component ({judged})",
        ),
        "qat_minus_ptq": (
            qat_minus_ptq(figures, runs, varied, lower_is_better),
            f"{label}, mean of the tasks: training for a scheme against quantizing after training ({judged}{with_seeds})",
        ),
    }
    return {name: view for name, view in views.items() if name in config["views"]}


def _references(drift: pd.DataFrame) -> str:
    names = dict.fromkeys(name for name in drift["reference"] if not is_simulation(name))
    return "a reference" if len(names) > 1 else next(iter(names))
