"""Folder of a finished study as the stages `tables` and `plots` leave it, without running them, for tests of pages."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from qatlab.job import JobDescription
from qatlab.plots import plot as style
from qatlab.plots.forest import draw_forest
from qatlab.plots.plot import plots_of
from qatlab.stages import page
from qatlab.study.record import StudyRecord
from qatlab.tables.labels import write_csv
from qatlab.tables.missing import MissingArtifact
from qatlab.tables.table import tables_of
from records import a_run, a_study

OFFER: dict[str, Any] = {
    "grade": "balanced",
    "run": "ste-seed=0",
    "method": "ste",
    "varied": {},
    "deploy": "onnx_int8",
    "rotation": "none",
    "output": "int8",
    "scoring": "dot",
    "doc_bytes": 384,
    "model_bytes": 23_800_000,
    "texts_per_second": 212.4,
    "value": 0.3731,
    "loss": 0.0021,
    "low": -0.0011,
    "high": 0.0032,
    "relative": 0.0056,
    "relative_high": 0.0086,
    "verdict": "not separable",
    "load": "from sentence_transformers import SentenceTransformer\nmodel = SentenceTransformer('ste')",
}
CONCLUSION: dict[str, Any] = {
    "version": 1,
    "metric": "nDCG@10",
    "budget": 0.01,
    "reference": "baseline, torch_fp32, float32",
    "reference_value": 0.3752,
    "sentences": ["Binary costs `baseline` 0.0432.", "No recipe is separable.", "Ship `ste` as onnx_int8."],
    "offers": [OFFER | {"grade": "safest", "output": "float32", "doc_bytes": 1536}, OFFER],
    "undecided": "4,100 queries would decide.",
    "complete": True,
}


def record(methods: tuple[str, ...] = ("baseline", "ste"), **values: Any) -> StudyRecord:
    """Return the record of a study of these methods with two seeds each."""
    runs = [
        {"name": f"{method}-seed={seed}", "method": method, "seed": seed, "trained": f"train/{method}-{seed}"}
        for method in methods
        for seed in (0, 1)
    ]
    return a_study(runs=[a_run(**run) for run in runs], **values)


def differences(methods: tuple[str, ...], verdicts: tuple[str, ...]) -> pd.DataFrame:
    """Return a table of differences as texts, with one row per method and verdict."""
    rows = [
        {
            "method": method,
            "deploy": "torch_fp32",
            "output precision": ("float32", "int8", "binary")[at % 3],
            "value": "0.5000",
            "difference": f"{(0.01, -0.02, 0.001)[at % 3]:+.4f}",
            "95 % interval": f"{(0.005, -0.03, -0.002)[at % 3]:+.4f} to {(0.02, -0.01, 0.004)[at % 3]:+.4f}",
            "p (Holm)": "0.010",
            "verdict": verdict,
            "to tell them apart": "1,200 queries" if verdict == "not separable" else "",
        }
        for method in methods
        for at, verdict in enumerate(verdicts)
    ]
    return pd.DataFrame(rows)


def write_study(folder: Path, study: StudyRecord, conclusion: dict[str, Any] | None = None) -> Path:
    """Write tables, plots, study.json and, if given, conclusion.json of a study; return its folder below `folder`."""
    home = folder / "studies" / study.name
    for name in ("tables", "plots"):
        (home / name).mkdir(parents=True)
    methods = tuple(dict.fromkeys(run.method for run in study.runs))
    table = differences(methods[1:], ("better", "worse", "not separable"))
    for name in tables_of(study):
        write_csv(table, home / "tables" / f"{name}.csv")
    costs = pd.DataFrame({"train_device": ["cpu (AVX2, 2 threads)"], "encode_device": ["cpu (AVX2, 2 threads)"]})
    costs.to_csv(home / "tables" / "cost.csv", index=False)
    style.use_style()
    figure = draw_forest({"against_baseline": table}, {"against_baseline": "less baseline"}, study.title, "x", "→")
    assert figure is not None
    style.save(figure, home, "drawn")
    for name in plots_of(study):  # all have the same ids, which the page must make unique
        shutil.copyfile(home / "drawn.svg", home / "plots" / f"{name}.svg")
    about = {"study": study.name, "title": study.title, "scale": study.scale, "question": study.question}
    titles = {name: f"Title of {name}" for name in tables_of(study)}
    (home / "study.json").write_text(json.dumps({**about, "runs": len(study.runs), "titles": titles}))
    if conclusion is not None:
        (home / "conclusion.json").write_text(json.dumps(conclusion))
    for run in study.runs:
        trained = folder / run.trained
        trained.mkdir(parents=True)
        config = {
            "method": {"name": run.method},
            "trainer": {"batch_size": 64, "learning_rate": 1e-4},
            "seed": run.seed,
        }
        (trained / "config.json").write_text(json.dumps({"config": config}))
    return home


def written(
    folder: Path,
    study: StudyRecord,
    conclusion: dict[str, Any] | None = CONCLUSION,
    missing: dict[str, MissingArtifact] | None = None,
) -> str:
    """Write a study and its page by the stage `page`; return the page."""
    home = write_study(folder, study, conclusion)
    inputs = {"study": home, "results": folder}
    if missing is not None:
        lacks = {path: lack.model_dump(mode="json", exclude_defaults=True) for path, lack in missing.items()}
        (folder / "missing.json").write_text(json.dumps(lacks))
        inputs["missing"] = folder / "missing.json"
    page.run(JobDescription(config=study.model_dump(mode="json")), inputs, home, None)
    return (home / "index.html").read_text()
