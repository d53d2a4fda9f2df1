"""Runs and the artifacts they are made of: what a study will do, decided before anything is done."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from qatlab.artifact import identity
from qatlab.config.deploy import Deployment, OnnxDeployment, TorchDeployment
from qatlab.config.method import MethodConfig
from qatlab.config.study import RunConfig
from qatlab.errors import UserError
from qatlab.plan.hardware import check_hardware
from qatlab.plan.origin import check_trackers, data_origin, model_origin, task_origin, texts_origin
from qatlab.tables.names import WIDE, is_simulation, simulation


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
    encoded: dict[tuple[str, str], str] = field(default_factory=dict)  # (deployment, task or set of texts) → path
    scored: dict[tuple[str, str], str] = field(default_factory=dict)  # (deployment, task) → path
    references: dict[str, tuple[str, str]] = field(default_factory=dict)  # of drift → run and deployment
    drifted: dict[tuple[str, str, str], str] = field(
        default_factory=dict
    )  # (reference, deployment, task or texts) → path

    @property
    def tasks(self) -> dict[str, str]:
        """The tasks and sets of texts, and the role that an encoding has them in."""
        return dict.fromkeys(self.config.task, "task") | dict.fromkeys(self.config.texts, "texts")


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
            "drift": self._compares(),
        }
        return [name for name, drawn in names.items() if drawn]

    def view_names(self) -> list[str]:
        """The wide tables that the study has figures for."""
        twins = self.twins()
        there = {
            "drift_summary": self._compares(),
            "drift_and_loss": self._compares(),
            "drift_budget": any(_budgets(r) for r in self.runs),
            "cost_of_training": any(r.config.method.train for r in self.runs),
            "parity": any(is_simulation(reference) for r in self.runs for reference, _, _ in r.drifted),
            "qat_minus_ptq": any(_matched(r) and twins[r.config.method.name] for r in self.runs),
        }
        return [name for name in WIDE if there.get(name, True)]

    def _compares(self) -> bool:
        """Whether deployments are compared with one another, besides with what training saw."""
        return any(not is_simulation(reference) for r in self.runs for reference, _, _ in r.drifted)

    def study_description(self) -> dict[str, Any]:
        """What the tables and plots stages read: each run's names in tables and the paths of its artifacts."""
        metric, twins = self.runs[0].config.evaluate.metrics[0], self.twins()
        config = {"study": self.study, "title": self.title, "baseline": self.baseline, "primary_metric": metric}
        return {
            "kind": "study",
            "name": self.study,
            "label": self.study,
            "config": {**config, "runs": [_run_description(run, twins) for run in self.runs]},
        }

    def twins(self) -> dict[str, str | None]:
        """By method: what to quantize after training beside it. Its recipe without the scheme, or else the baseline, if there."""
        methods = {run.config.method.name: run.config.method for run in self.runs}
        plain: dict[str, str] = {}
        for name, method in methods.items():
            if method.weight_quantization is None:
                plain.setdefault(_recipe(method), name)
        otherwise = self.baseline if self.baseline in methods else None
        return {
            name: plain.get(_recipe(method), otherwise) if method.weight_quantization else None
            for name, method in methods.items()
        }


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
    check_hardware([config for _, config in cells])
    planner = _Planner()
    runs: dict[str, Run] = {}
    for cell, config in cells:
        run = _plan_run(planner, cell, config)
        runs.setdefault(run.trained, run)  # an untrained model is the same for every seed: one run
    study = cells[0][1].study
    _check_names(runs.values())
    for run in runs.values():
        _plan_drift(planner, run, list(runs.values()))
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
        run.deployed[deployment] = _plan_deployment(planner, run, deployment, config.deploy[deployment])
    scheme = config.method.weight_quantization
    if scheme is not None:
        as_trained = TorchDeployment(backend="torch", weights=scheme, simulated=True)
        run.deployed[simulation(scheme.name)] = _plan_deployment(planner, run, simulation(scheme.name), as_trained)
    for task, role in run.tasks.items():
        _plan_task(planner, run, task, role)
    return run


def _plan_task(planner: _Planner, run: Run, task: str, role: str) -> None:
    """Encodings and, of a task, scores of every deployment; what training saw is encoded for tasks alone."""
    config = run.config
    section, lookup = (config.task[task], task_origin) if role == "task" else (config.texts[task], texts_origin)
    task_path = planner.add(role, task, {role: task, **_dump(section)}, {}, task, planner.origin(lookup, section))
    for deployment, deployed in run.deployed.items():
        what, slug = f"{run.name} · {deployment} · {task}", f"{run.name}-{deployment}-{task}"
        if is_simulation(deployment) and role == "texts":
            continue
        encoded = planner.add("encode", slug, _dump(config.encode), {"deploy": deployed, role: task_path}, what)
        run.encoded[deployment, task] = encoded
        if role == "task" and not is_simulation(deployment):
            inputs = {"encode": encoded, "task": task_path}
            run.scored[deployment, task] = planner.add("score", slug, _dump(config.evaluate), inputs, what)


def _plan_drift(planner: _Planner, run: Run, runs: list[Run]) -> None:
    """Every deployment against every reference, and against the forward pass that a run with quantized weights was trained in."""
    references = {name: _reference(name, run, runs) for name in run.config.drift.references}
    references |= {name: (run, name) for name in run.deployed if is_simulation(name)}
    run.references = {name: (other.name, deployed) for name, (other, deployed) in references.items()}
    for reference, (other, deployed) in references.items():
        for deployment, config in run.config.deploy.items():
            if run.deployed[deployment] == other.deployed[deployed] or not _same_axes(config):
                continue
            for task, role in run.tasks.items():
                if (deployed, task) not in other.encoded:
                    continue
                inputs = {"reference": other.encoded[deployed, task], "encode": run.encoded[deployment, task]}
                if role == "task":
                    inputs["task"] = planner.artifacts[run.encoded[deployment, task]].inputs["task"]
                run.drifted[reference, deployment, task] = planner.add(
                    "drift",
                    f"{run.name}-{deployment}-{task}",
                    {"texts": run.config.drift.texts, "limit": run.config.drift.limit},
                    inputs,
                    f"{run.name} · {deployment} against {reference} · {task}",
                )


def _reference(name: str, run: Run, runs: list[Run]) -> tuple[Run, str]:
    """The run and deployment that 'torch_fp32' or 'baseline/torch_fp32' means for a run."""
    method, _, deployment = name.rpartition("/")
    if not method:
        return run, deployment
    same = {key: value for key, value in run.cell.items() if key not in ("method", "seed")}
    for other in runs:
        seed = not other.config.method.train or not run.config.method.train or other.config.seed == run.config.seed
        if other.config.method.name == method and same.items() <= other.cell.items() and seed:
            return other, deployment
    raise UserError(
        f"drift.reference '{name}': no run of method '{method}' stands beside run '{run.name}' in this study"
    )


def _plan_data(planner: _Planner, config: RunConfig) -> str:
    return planner.add(
        "data", config.data.name, _dump(config.data), {}, config.data.name, planner.origin(data_origin, config.data)
    )


def _same_axes(config: Deployment) -> bool:
    """Whether embeddings can be compared with another deployment's coordinate by coordinate."""
    return not isinstance(config, TorchDeployment) or not config.rotated


def _plan_deployment(planner: _Planner, run: Run, deployment: str, config: Deployment) -> str:
    """What is made from an ONNX file is made from the float one, which is exported once whether or not the study lists it."""
    inputs = {"model": run.trained}
    # A float file has no products of integers: exact or not, it is the same.
    plain = OnnxDeployment(backend="onnx", opset=config.opset) if not isinstance(config, TorchDeployment) else None
    if plain is not None and config != plain:
        label = f"{run.name} · onnx"
        inputs["float"] = planner.add("deploy", f"{run.name}-onnx", _dump(plain), {"model": run.trained}, label)
    if config.needs_texts:
        inputs["data"] = _plan_data(planner, run.config)
    slug = f"{run.name}-onnx" if config == plain else f"{run.name}-{deployment}"
    return planner.add("deploy", slug, _dump(config), inputs, f"{run.name} · {deployment}")


def _recipe(method: MethodConfig) -> str:
    """How a method trains, apart from quantizing weights."""
    without: dict[str, Any] = {"name": "", "weight_quantization": None, "weight_quantization_start": None}
    if method.lora is not None:
        without["lora"] = method.lora.model_copy(update={"quantized": "base"})
    return method.model_copy(update=without).model_dump_json()


def _matched(run: Run) -> dict[str, str]:
    """The deployments on the very grid that a run's weights were trained for, and the scheme's name."""
    scheme = run.config.method.weight_quantization
    if scheme is None:
        return {}
    return {deployment: scheme.name for deployment, config in run.config.deploy.items() if config.ships(scheme)}


def _run_description(run: Run, twins: dict[str, str | None]) -> dict[str, Any]:
    trained, scheme, lora = run.config.method.train, run.config.method.weight_quantization, run.config.method.lora
    tuning = f"LoRA-{lora.r}" if lora else "full"
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
        "scheme": scheme.name if scheme else "none",
        "tuning": tuning if trained else "",
        "trained": run.trained,
        "deployed": run.deployed,
        "matched": _matched(run),
        "twin": twins[run.config.method.name],
        "references": run.references,
        "budgets": _budgets(run),
        "reduce_range": {name: _reduce_range(config) for name, config in run.config.deploy.items()},
        "evaluations": [
            {"deploy": deploy, "task": task, "encode": path}
            | ({"score": run.scored[deploy, task]} if (deploy, task) in run.scored else {})
            | {"drift": {r: p for (r, d, t), p in run.drifted.items() if (d, t) == (deploy, task)}}
            for (deploy, task), path in run.encoded.items()
        ],
    }


def _budgets(run: Run) -> list[str]:
    """The deployments whose drift was held against a budget."""
    return [name for name, config in run.config.deploy.items() if isinstance(config, OnnxDeployment) and config.budget]


def _reduce_range(config: Deployment) -> bool | None:
    """Whether weights of an ONNX int8 file have 7 bits, so that processors without VNNI don't saturate; None for other kinds."""
    return config.quantization.reduce_range if isinstance(config, OnnxDeployment) and config.quantization else None


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
