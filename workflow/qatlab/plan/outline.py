"""What the workflow's rules need of a study's plan: light, and kept in a file, so that a job elsewhere plans nothing."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatlab.artifact import identity, read_json

if TYPE_CHECKING:
    from qatlab.plan.artifacts import Artifact
    from qatlab.plan.plan import Plan


@dataclass(frozen=True)
class Job:
    """What makes one artifact.

    Attributes:
        inputs: paths below results/ by role.
        on_gpu: whether it computes on a GPU where there is one. ONNX Runtime, OpenVINO and torchao's integer weights do not.
        threads: as many as the study says; None for all.
        processes: of a training, on each of its nodes.
        nodes: machines that a training is spread over.
        modules: the registered modules that make it besides its stage's own.
    """

    inputs: dict[str, str]
    on_gpu: bool
    threads: int | None
    processes: int = 1
    nodes: int = 1
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outline:
    """A study's artifacts and files.

    Attributes:
        identity: changes with anything that the study's tables and plots show besides their inputs.
        jobs: by `<kind>/<name>`.
        views: its wide tables.
        plots: the titles of its plots, by name.
        drawn: the wide tables that its plots are drawn from.
        modules: those that make its tables and its plots, by stage.
        trained: the names of its runs with a model of their own.
        has_mteb_results: whether mteb knows a task of its.
        published: the file of others' figures that its tables show, relative to the working directory.
    """

    study: str
    identity: str
    jobs: dict[str, Job]
    views: list[str]
    plots: dict[str, str]
    drawn: list[str]
    modules: dict[str, list[str]]
    trained: list[str]
    has_mteb_results: bool
    published: str | None


def outline(plan: "Plan") -> Outline:
    """Of a plan."""
    from qatlab.plots.plot import plots_of
    from qatlab.tables.table import tables_of

    record, description = plan.record(), plan.study_description()
    tables, plots = tables_of(record), plots_of(record)
    deployments = {path: made for path, made in plan.artifacts.items() if made.kind == "deploy"}
    return Outline(
        plan.study,
        identity(plan.study, description),
        {path: _job(made, deployments) for path, made in plan.artifacts.items()},
        list(tables),
        {name: plot.title for name, plot in plots.items()},
        [table for table in tables if any(table in plot.tables for plot in plots.values())],
        {"tables": _modules(tables.values()), "plots": _modules(plots.values())},
        [run.name for run in plan.trained_runs()],
        plan.has_mteb_results(),
        os.path.relpath(plan.published.file) if plan.published else None,
    )


def _modules(made_by: Iterable[object]) -> list[str]:
    """Return the names of the modules that classes are defined in."""
    return sorted({type(instance).__module__ for instance in made_by})


def _job(artifact: "Artifact", deployments: "dict[str, Artifact]") -> Job:
    from qatlab.config.encode import EncodeConfig
    from qatlab.config.training import TrainingConfig
    from qatlab.deployments.deployment import Deployment
    from qatlab.plan.registries import registered_modules

    modules = registered_modules(artifact)
    config = artifact.config
    if isinstance(config, TrainingConfig):
        spread = config.trainer.distributed
        return Job(artifact.inputs, True, config.trainer.threads, spread.processes, spread.nodes, modules)
    if isinstance(config, Deployment):
        # It runs the model on training texts to fit a rotation or ranges, or to measure drift.
        threads = None if "data" in artifact.inputs else 1
        return Job(artifact.inputs, config.made_on_gpu, threads, modules=modules)
    if artifact.kind == "encode":
        deployed = deployments[artifact.inputs["deploy"]]
        assert isinstance(deployed.config, Deployment)
        threads = config.threads if isinstance(config, EncodeConfig) else None
        of_deployment = registered_modules(deployed)[:1]
        return Job(artifact.inputs, deployed.config.runs_on_gpu, threads, modules=(*of_deployment, *modules))
    return Job(artifact.inputs, False, None, modules=modules)


def write_outlines(outlines: list[Outline], code: dict[str, str], folder: Path, asked_for: str) -> None:
    """Writes outline/<asked_for>.json, for jobs on other machines. `asked_for` names the studies as --config does."""
    path = outline_file(folder, asked_for)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"studies": [asdict(outline) for outline in outlines], "code": code}), encoding="utf-8")
    new.replace(path)


def read_outlines(folder: Path, asked_for: str) -> tuple[list[Outline], dict[str, str]]:
    """What the workflow that submitted this job has written: of its studies, and of its stages' code."""
    written = read_json(outline_file(folder, asked_for))
    outlines = [
        Outline(**{**values, "jobs": {name: _read_job(job) for name, job in values["jobs"].items()}})
        for values in written["studies"]
    ]
    return outlines, written["code"]


def _read_job(values: dict[str, Any]) -> Job:
    return Job(**{**values, "modules": tuple(values["modules"])})


def outline_file(folder: Path, asked_for: str) -> Path:
    """Where it is, if this machine sees the files of the one that planned."""
    return folder / "outline" / f"{asked_for}.json"
