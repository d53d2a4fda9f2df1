"""tables: every figure of a study in long tables, and wide views of them for people."""

from pathlib import Path
from typing import Any

from qatlab.tables import long, wide
from qatlab.tables.names import metric_label
from qatlab.tables.twins import qat_minus_ptq

FLOATS = "%.6f"


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes runs.csv and tables/ with scores, drift and cost as .csv, and wide views as .csv, .md and .tex."""
    config, results = description["config"], inputs["results"]
    folder = output / "tables"
    folder.mkdir()
    scores = long.scores(config["study"], config["runs"], results)
    drift = long.drift(config["runs"], results)
    cost = long.cost(config["runs"], results)
    scores.to_csv(folder / "scores.csv", index=False, float_format=FLOATS)
    drift.to_csv(folder / "drift.csv", index=False, float_format="%.9f")
    cost.to_csv(folder / "cost.csv", index=False, float_format=FLOATS)
    long.runs_table(config["runs"]).to_csv(output / "runs.csv", index=False)
    metric = config["primary_metric"]
    seeds = scores["seed"].nunique()
    over = f"{seeds} seeds, ± standard deviation" if seeds > 1 else "one seed"
    wide.write_all_forms(
        wide.scores_by_precision(scores, metric),
        folder,
        "scores_by_precision",
        f"{metric_label(metric)} by output precision ({over})",
    )
    wide.write_all_forms(wide.all_metrics(scores), folder, "all_metrics", f"All metrics, mean of the tasks ({over})")
    if any(run["matched"] and run["twin"] for run in config["runs"]):
        twins = qat_minus_ptq(scores, config["runs"], metric)
        title = f"{metric_label(metric)}, mean of the tasks: training for a scheme against quantizing after training ({over})"
        wide.write_all_forms(twins, folder, "qat_minus_ptq", title)
    if len(drift):
        wide.write_all_forms(
            wide.drift_summary(drift),
            folder,
            "drift_summary",
            f"Cosine similarity to {config['runs'][0]['drift_reference']}, text by text",
        )
    wide.write_all_forms(
        wide.cost_summary(cost),
        folder,
        "cost_summary",
        "Cost (medians; memory is peak resident, or allocated on a GPU)",
    )
