"""Stage models: each trained model of a study in a folder to share, with its ONNX files and its card."""

from pathlib import Path

import pandas as pd

from qatlab.artifact import link_or_copy, link_or_copy_tree, read_json
from qatlab.cards.study_card import Shipped, study_card
from qatlab.cards.training_card import FILE, card, known_data, known_model
from qatlab.deployments.deployment import DEPLOYMENTS, Deployment, shared_names
from qatlab.deployments.onnx import ONNX_FILE
from qatlab.job import JobDescription
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.names import model_folder
from qatlab.training.training import TrainingCost

FOLDER = "models"
EXACT = "evaluated with ONNX Runtime's session option `session.x64quantprecision` = `1`"


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write models/RUN/ for each run that trains: the trained folder, its ONNX files under onnx/, and its card."""
    study = StudyRecord.model_validate(description.config)
    (output / FOLDER).mkdir()
    for run in study.runs:
        if run.trains:
            folder = output / FOLDER / model_folder(run.name)
            link_or_copy_tree(inputs["results"] / run.trained / "model", folder)
            shipped = _ship(run, inputs["results"], folder)
            training = _training_card(inputs["results"], run.trained)
            # The file is linked to that of the trained folder, which would change with it.
            (folder / FILE).unlink(missing_ok=True)
            (folder / FILE).write_text(study_card(training, run, study, inputs["tables"], shipped), encoding="utf-8")


def _training_card(results: Path, trained: str) -> str:
    """Return the card of a training, written again by the current version."""
    training = JobDescription.read(results / trained / "config.json")
    model, data = known_model(results / training.inputs["model"]), known_data(results / training.inputs["data"])
    cost = TrainingCost(**read_json(results / trained / "cost.json"))
    steps = pd.read_csv(results / trained / "log.csv")
    return card(training, model, data, cost, steps)


def _ship(run: RunRecord, results: Path, folder: Path) -> Shipped:
    """Link the ONNX files of a run into its folder, and return the folder's content."""
    deployed: dict[str, Deployment] = {
        name: DEPLOYMENTS.read(read_json(results / path / "config.json")["config"])
        for name, path in run.deployed.items()
    }
    names = shared_names(deployed)
    for deployment, name in names.items():
        _place(results / run.deployed[deployment] / "model" / ONNX_FILE, folder / name)
    return Shipped(
        plain=next((name for name, config in deployed.items() if config.plain and not config.exported), None),
        onnx=names,
        notes={name: EXACT for name, config in deployed.items() if config.sums_are_exact and config.quantized},
    )


def _place(source: Path, target: Path) -> None:
    """Link or copy a deployment's file to `target`, and its external weights beside it under their own names."""
    target.parent.mkdir(exist_ok=True)
    for file in source.parent.iterdir():
        place = target if file == source else target.with_name(file.name)
        if not place.exists():  # two names of one deployment share the files
            link_or_copy(file, place)
