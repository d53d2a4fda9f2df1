"""Check that schemes and adapters fit a model's layers, before the first job instead of at the start of a training.

The model is built from its configuration, without weights. A model of the hub that is not downloaded yet is checked by its job.
"""

from pathlib import Path
from typing import Any

from qatlab.config.method import MethodConfig, TrainingConfig
from qatlab.config.weights import WeightsConfig
from qatlab.deployments.deployment import Deployment
from qatlab.errors import UserError
from qatlab.families.family import family_of
from qatlab.plan.artifacts import Artifact
from qatlab.plan.model_folder import base_model, folder_of, model_config
from qatlab.plan.plan import Plan


def check_layers(plan: Plan, results: Path) -> None:
    """Raise UserError for a filter that matches no layer of a model, or a group size that does not fit a layer.

    Existing artifacts are skipped, and methods that append a rotation, because a filter may match its layer.
    torch is imported only where there is something to check.
    """
    models: dict[str, object] = {}
    for artifact in plan.artifacts.values():
        config = _layer_config(artifact)
        if not config or (results / artifact.path).exists() or _appends_a_layer(plan, artifact):
            continue
        base = base_model(plan, artifact)
        if base.path not in models:
            models[base.path] = _shapes(base, results)
        if models[base.path] is not None:
            _check(models[base.path], config)


def _layer_config(artifact: Artifact) -> MethodConfig | WeightsConfig | None:
    if isinstance(artifact.config, TrainingConfig):
        method = artifact.config.method
        return method if method.weights or method.lora else None
    return artifact.config.scheme_of_layers() if isinstance(artifact.config, Deployment) else None


def _appends_a_layer(plan: Plan, artifact: Artifact) -> bool:
    training = artifact if artifact.kind == "train" else plan.artifacts[artifact.inputs["model"]]
    return isinstance(training.config, TrainingConfig) and training.config.method.rotation is not None


def _check(model: Any, config: MethodConfig | WeightsConfig) -> None:
    from qatlab.weights.select import adapted, selected

    try:
        if isinstance(config, WeightsConfig):
            selected(model, config)
            return
        if config.weights is not None:
            selected(model, config.weights)
        if config.lora is not None:
            adapted(model, config.lora)
    except ValueError as error:
        raise UserError(str(error)) from None


def _shapes(base: Artifact, results: Path) -> Any:
    """Return the modules of a base model without weights; None for a model that is not on this machine."""
    config = model_config(base)
    folder = None if config.decoder is not None else folder_of(base, results)
    return family_of(config.kind).without_weights(folder, config)
