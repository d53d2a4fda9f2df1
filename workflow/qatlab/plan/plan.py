"""Runs and the artifacts they are made of: what a study will do, decided before anything is done."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from qatlab.artifact import identity
from qatlab.config.deploy import OnnxDeployment, TorchDeployment
from qatlab.config.method import MethodConfig
from qatlab.config.study import RunConfig
from qatlab.errors import UserError
from qatlab.plan.origin import check_trackers, data_origin, model_origin, task_origin
from qatlab.tables.names import WIDE


@dataclass(frozen=True)
class Artifact:
    """A folder `results/<kind>/<name>`, the configuration slice its stage reads, and the artifacts it is made from."""

    kind: str
    name: str
    config: dict[str, Any]
    inputs: dict[str, str]  # role → path below results/
    label: str  # what a person watching the terminal reads
    origin: Any = None  # content outside the configuration: versions, checksums

    @property
    def description(self) -> dict[str, Any]:
        """What its stage reads, and what it keeps as config.json."""
        return {
            "kind": self.kind,
            "name": self.name,
            "label": self.label,
            "config": self.config,
            "inputs": self.inputs,
            "origin": self.origin,
        }

    @property
    def path(self) -> str:
        """`<kind>/<name>`, relative to the results folder."""
        return f"{self.kind}/{self.name}"


@dataclass
class Run:
    """One cell of the matrix: what it is called in tables, and the paths of its artifacts."""

    name: str
    cell: dict[str, Any]
    config: RunConfig
    trained: str
    deployed: dict[str, str] = field(default_factory=dict)  # deployment → path
    encoded: dict[tuple[str, str], str] = field(default_factory=dict)  # (deployment, task) → path
    scored: dict[tuple[str, str], str] = field(default_factory=dict)
    drifted: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass
class Plan:
    """A study's runs, and every artifact of theirs by path."""

    study: str
    title: str
    baseline: str
    runs: list[Run]
    artifacts: dict[str, Artifact]

    def plot_names(self) -> list[str]:
        """The plots that the study has figures for."""
        names = {
            "scores": True,
            "training_loss": any(a.kind == "train" for a in self.artifacts.values()),
            "drift": any(r.drifted for r in self.runs),
        }
        return [name for name, drawn in names.items() if drawn]

    def view_names(self) -> list[str]:
        """The wide tables that the study has figures for."""
        there = {
            "drift_summary": any(r.drifted for r in self.runs),
            "qat_minus_ptq": any(_matched(r) and self.twin(r) for r in self.runs),
        }
        return [name for name in WIDE if there.get(name, True)]

    def study_description(self) -> dict[str, Any]:
        """What the tables and plots stages read: each run's names in tables and the paths of its artifacts."""
        metric = self.runs[0].config.evaluate.metrics[0]
        config = {"study": self.study, "title": self.title, "baseline": self.baseline, "primary_metric": metric}
        return {
            "kind": "study",
            "name": self.study,
            "label": self.study,
            "config": {**config, "runs": [{**_run_description(run), "twin": self.twin(run)} for run in self.runs]},
        }

    def twin(self, run: Run) -> str | None:
        """The method to quantize after training beside a run trained for a scheme: its recipe without the scheme, or the baseline."""
        if run.config.method.weight_quantization is None:
            return None
        recipes = {other.config.method.name: _recipe(other.config.method) for other in self.runs}
        same = [
            other.config.method.name
            for other in self.runs
            if other.config.method.weight_quantization is None
            and recipes[other.config.method.name] == recipes[run.config.method.name]
        ]
        return next((name for name in (*same, self.baseline) if name in recipes), None)


class _Planner:
    """Collects artifacts; the same content gives the same artifact, made once."""

    def __init__(self) -> None:
        self.artifacts: dict[str, Artifact] = {}
        self.origins: dict[str, Any] = {}

    def origin(self, lookup: Callable[[Any], Any], config: BaseModel) -> Any:
        """`lookup(config)`, asked once for equal configurations."""
        key = f"{lookup.__name__} {config.model_dump_json()}"
        if key not in self.origins:
            self.origins[key] = lookup(config)
        return self.origins[key]

    def add(
        self, kind: str, slug: str, config: dict[str, Any], inputs: dict[str, str], label: str, origin: Any = None
    ) -> str:
        """The path of an artifact. A local path is no part of its identity: the content it leads to is."""
        content = {
            "config": {key: value for key, value in config.items() if key != "path"},
            "inputs": inputs,
            "origin": origin,
        }
        artifact = Artifact(kind, identity(slug, content), config, inputs, label, origin)
        self.artifacts.setdefault(artifact.path, artifact)
        return artifact.path


def make_plan(cells: list[tuple[dict[str, Any], RunConfig]]) -> Plan:
    """The plan of composed runs. Raises UserError for local files, packages or checksums that are not as configured."""
    check_trackers(cells[0][1].trainer)
    planner = _Planner()
    runs: dict[str, Run] = {}
    for cell, config in cells:
        run = _plan_run(planner, cell, config)
        runs.setdefault(run.trained, run)  # an untrained model is the same for every seed: one run
    study = cells[0][1].study
    _check_names(runs.values())
    return Plan(study.name, study.title, study.baseline, list(runs.values()), planner.artifacts)


def _plan_run(planner: _Planner, cell: dict[str, Any], config: RunConfig) -> Run:
    model = planner.add(
        "model",
        Path(config.model.name).name,
        _dump(config.model),
        {},
        config.model.name,
        planner.origin(model_origin, config.model),
    )
    trained, name = model, config.method.name
    if config.method.train:
        name = _run_name(cell, config)
        data = _plan_data(planner, config)
        slice_ = {"method": _dump(config.method), "trainer": _dump(config.trainer), "seed": config.seed}
        slug = f"{Path(config.model.name).name}-{config.data.name}-{name}"
        trained = planner.add("train", slug, slice_, {"model": model, "data": data}, name)
    run = Run(name, cell, config, trained)
    for deployment in config.deploy:
        run.deployed[deployment] = _plan_deployment(planner, run, deployment)
    for task, task_config in config.task.items():
        task_path = planner.add(
            "task", task, {"task": task, **_dump(task_config)}, {}, task, planner.origin(task_origin, task_config)
        )
        for deployment, deployed in run.deployed.items():
            what = f"{name} · {deployment} · {task}"
            slug = f"{name}-{deployment}-{task}"
            encoded = planner.add("encode", slug, _dump(config.encode), {"deploy": deployed, "task": task_path}, what)
            run.encoded[deployment, task] = encoded
            run.scored[deployment, task] = planner.add(
                "score", slug, _dump(config.evaluate), {"encode": encoded, "task": task_path}, what
            )
        reference = run.encoded[config.drift.reference, task]
        for deployment, deploy_config in config.deploy.items():
            if deployment != config.drift.reference and _same_axes(deploy_config):
                run.drifted[deployment, task] = planner.add(
                    "drift",
                    f"{name}-{deployment}-{task}",
                    _dump(config.drift),
                    {"reference": reference, "encode": run.encoded[deployment, task]},
                    f"{name} · {deployment} against {config.drift.reference} · {task}",
                )
    return run


def _plan_data(planner: _Planner, config: RunConfig) -> str:
    return planner.add(
        "data", config.data.name, _dump(config.data), {}, config.data.name, planner.origin(data_origin, config.data)
    )


def _same_axes(config: TorchDeployment | OnnxDeployment) -> bool:
    """Whether embeddings can be compared with another deployment's coordinate by coordinate."""
    return not isinstance(config, TorchDeployment) or config.rotation is None or config.rotation.kind == "none"


def _plan_deployment(planner: _Planner, run: Run, deployment: str) -> str:
    """A quantized ONNX file is made from the float one, which is exported once whether or not the study lists it."""
    config = run.config.deploy[deployment]
    inputs = {"model": run.trained}
    if isinstance(config, OnnxDeployment) and config.quantization is not None:
        float_config = config.model_copy(update={"quantization": None})
        inputs["float"] = planner.add(
            "deploy", f"{run.name}-onnx", _dump(float_config), {"model": run.trained}, f"{run.name} · onnx"
        )
    if not _same_axes(config):
        inputs["data"] = _plan_data(planner, run.config)
    slug = (
        f"{run.name}-onnx"
        if isinstance(config, OnnxDeployment) and config.quantization is None
        else f"{run.name}-{deployment}"
    )
    return planner.add("deploy", slug, _dump(config), inputs, f"{run.name} · {deployment}")


def _recipe(method: MethodConfig) -> dict[str, Any]:
    """How a method trains, apart from quantizing weights."""
    without: dict[str, Any] = {"name": "", "weight_quantization": None, "weight_quantization_start": None}
    if method.lora is not None:
        without["lora"] = method.lora.model_copy(update={"quantized": "base"})
    return _dump(method.model_copy(update=without))


def _matched(run: Run) -> dict[str, str]:
    """The deployments on the very grid that a run's weights were trained for, and the scheme's name."""
    scheme = run.config.method.weight_quantization
    if scheme is None:
        return {}
    return {deployment: scheme.name for deployment, config in run.config.deploy.items() if config.ships(scheme)}


def _run_description(run: Run) -> dict[str, Any]:
    trained = run.config.method.train
    return {
        "run": run.name,
        "model": run.config.model.name,
        "data": run.config.data.name if trained else "",
        "method": run.config.method.name,
        "seed": run.config.seed if trained else None,
        "varied": {
            f"matrix.{key}": value if trained or key.startswith("model") else ""
            for key, value in run.cell.items()
            if key not in ("method", "seed")
        },
        "trained": run.trained,
        "deployed": run.deployed,
        "matched": _matched(run),
        "drift_reference": run.config.drift.reference,
        "evaluations": [
            {"deploy": deploy, "task": task, "encode": path, "score": run.scored[deploy, task]}
            | ({"drift": run.drifted[deploy, task]} if (deploy, task) in run.drifted else {})
            for (deploy, task), path in run.encoded.items()
        ],
    }


def _run_name(cell: dict[str, Any], config: RunConfig) -> str:
    """The method, the seed, and what else the matrix varies, in words that are safe in a path."""
    parts = [config.method.name]
    for key, value in cell.items():
        if key not in ("method", "seed"):
            parts.append(f"{key.rpartition('.')[2]}={value}")
    return "-".join([*parts, f"seed={config.seed}"])


def _check_names(runs: Any) -> None:
    names = [run.name for run in runs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(
            f"two runs of the study are called '{twice.pop()}'; give the methods or matrix values distinct names"
        )


def _dump(section: Any) -> dict[str, Any]:
    values: dict[str, Any] = section.model_dump(mode="json")
    return values
