"""Whether schemes and adapters fit a model's layers, asked before the first job rather than at the start of a training.

The model is built without its weights, from its configuration alone. One of the hub that is not here yet is left to its job.
"""

from pathlib import Path
from typing import Any

from qatlab.config.method import MethodConfig
from qatlab.config.training import TrainingConfig
from qatlab.config.weights import WeightsConfig
from qatlab.deployments.deployment import Deployment
from qatlab.errors import UserError
from qatlab.families.family import family_of
from qatlab.plan.artifacts import Artifact
from qatlab.plan.model_folder import base_model, folder_of, model_config
from qatlab.plan.plan import Plan


def check_layers(plan: Plan, results: Path) -> None:
    """Raises UserError for a filter that matches no layer of a model, or a group that does not fit one.

    Artifacts that exist are not asked for, nor a method that appends a rotation, whose layer a filter may mean.
    Imports torch only where there is something to check.
    """
    models: dict[str, object] = {}
    for artifact in plan.artifacts.values():
        asked = _asked(artifact)
        if not asked or (results / artifact.path).exists() or _appends_a_layer(plan, artifact):
            continue
        base = base_model(plan, artifact)
        if base.path not in models:
            models[base.path] = _shapes(base, results)
        if models[base.path] is not None:
            _check(models[base.path], asked)


def _asked(artifact: Artifact) -> MethodConfig | WeightsConfig | None:
    if isinstance(artifact.config, TrainingConfig):
        method = artifact.config.method
        return method if method.weights or method.lora else None
    return artifact.config.scheme_of_layers() if isinstance(artifact.config, Deployment) else None


def _appends_a_layer(plan: Plan, artifact: Artifact) -> bool:
    training = artifact if artifact.kind == "train" else plan.artifacts[artifact.inputs["model"]]
    return isinstance(training.config, TrainingConfig) and training.config.method.rotation is not None


def _check(model: Any, asked: MethodConfig | WeightsConfig) -> None:
    from qatlab.weights.select import adapted, selected

    try:
        if isinstance(asked, WeightsConfig):
            selected(model, asked)
            return
        if asked.weights is not None:
            selected(model, asked.weights)
        if asked.lora is not None:
            adapted(model, asked.lora)
    except ValueError as error:
        raise UserError(str(error)) from None


def _shapes(base: Artifact, results: Path) -> Any:
    """Its modules by their names, with shapes only; None where nothing here tells them."""
    config = model_config(base)
    folder = None if config.decoder is not None else folder_of(base, results)
    return family_of(config.kind).without_weights(folder, config)
