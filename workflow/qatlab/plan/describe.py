"""What tables and plots read of a run: its names, its artifacts' paths, and what it is compared with."""

from dataclasses import asdict
from typing import Any

from qatlab.config.method import MethodConfig
from qatlab.plan.runs import Run, of_model


def twins(runs: list[Run], baseline: str) -> dict[str, str | None]:
    """By method: what to quantize after training beside it. Its recipe without the scheme, or else the baseline, if there."""
    methods = {run.config.method.name: run.config.method for run in runs}
    plain: dict[str, str] = {}
    for name, method in methods.items():
        if method.weights is None:
            plain.setdefault(_recipe(method), name)
    otherwise = baseline if baseline in methods else None
    return {name: plain.get(_recipe(method), otherwise) if method.weights else None for name, method in methods.items()}


def _recipe(method: MethodConfig) -> str:
    """How a method trains, apart from quantizing weights."""
    without: dict[str, Any] = {"name": "", "weights": None, "weights_start": None}
    if method.lora is not None:
        without["lora"] = method.lora.model_copy(update={"quantized": "base"})
    return method.model_copy(update=without).model_dump_json()


def matched(run: Run) -> dict[str, str]:
    """The deployments on the very grid that a run's weights were trained for, and the scheme's name."""
    scheme = run.config.method.weights
    if scheme is None:
        return {}
    return {deployment: scheme.name for deployment, config in run.config.deploy.items() if config.ships(scheme)}


def float_deployment(run: Run) -> str:
    """The deployment that others' losses are counted from: the one that drift refers to, if it is of the same run, or the first."""
    own = [name for name in run.config.drift.references if name in run.deployed]
    return own[0] if own else next(iter(run.config.deploy))


def run_description(run: Run, twins: dict[str, str | None]) -> dict[str, Any]:
    """A run as builtin values; `twins` by method."""
    trained, scheme, lora = run.config.method.train, run.config.method.weights, run.config.method.lora
    quantized = run.config.method.embedding_quantization
    tuning = f"LoRA-{lora.r}" if lora else "full"
    return {
        "run": run.name,
        "model": run.config.model.name,
        "data": run.config.data.name if trained else "",
        "method": run.config.method.name,
        "seed": run.config.seed if trained else None,
        "varied": {
            f"matrix.{key}": value if trained or of_model(key) else ""
            for key, value in run.cell.items()
            if key not in ("method", "seed")
        },
        "trains_for": list(quantized.precisions) if quantized else [],
        "scheme": scheme.name if scheme else "none",
        "tuning": tuning if trained else "",
        "trained": run.trained,
        "deployed": run.deployed,
        "matched": matched(run),
        "twin": twins[run.config.method.name],
        "references": run.references,
        "budgets": budgets(run),
        "reduce_range": {name: config.reduce_range for name, config in run.config.deploy.items()},
        "evaluations": [
            {"deploy": deploy, "task": task, "encode": path}
            | ({"score": run.scored[deploy, task]} if (deploy, task) in run.scored else {})
            | ({"training": run.training[deploy]} if (deploy, task) in run.scored and deploy in run.training else {})
            | {"drift": {r: p for (r, d, t), p in run.drifted.items() if (d, t) == (deploy, task)}}
            | _bit_changes(run, deploy, task)
            for (deploy, task), path in run.encoded.items()
        ],
        "chains": [asdict(chain) for chain in run.chains],
        "parts": [asdict(part) for part in run.parts.values()],
    }


def _bit_changes(run: Run, deploy: str, task: str) -> dict[str, dict[str, str]]:
    """What a run's bits are compared with, by the name of the other run; nothing where they are not."""
    paths = {other: path for (other, d, t), path in run.bit_changes.items() if (d, t) == (deploy, task)}
    return {"bit_changes": paths} if paths else {}


def budgets(run: Run) -> list[str]:
    """The deployments whose drift was held against a budget."""
    return [name for name, config in run.config.deploy.items() if config.has_budget]
