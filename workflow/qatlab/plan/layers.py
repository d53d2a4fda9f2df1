"""Whether schemes and adapters fit a model's layers, asked before the first job rather than at the start of a training.

The model is built without its weights, from its configuration alone. One of the hub that is not here yet is left to its job.
"""

import os
from pathlib import Path
from typing import Any

from qatlab.artifact import read_json
from qatlab.config.method import MethodConfig
from qatlab.config.model import ModelConfig
from qatlab.config.weights import WeightsConfig
from qatlab.errors import UserError
from qatlab.plan.artifacts import Artifact
from qatlab.plan.model_folder import base_model, folder_of
from qatlab.plan.plan import Plan
from qatlab.progress import output_to


def check_layers(plan: Plan, results: Path) -> None:
    """Raises UserError for a filter that matches no layer of a model, or a group that does not fit one.

    Artifacts that exist are not asked for, nor a method that appends a rotation, whose layer a filter may mean.
    Imports torch only where there is something to check.
    """
    models: dict[str, Any] = {}
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
    if artifact.kind.startswith("train"):
        method = MethodConfig.model_validate(artifact.config["method"])
        return method if method.weights or method.lora else None
    weights = artifact.config.get("weights") if artifact.kind.startswith("deploy") else None
    return WeightsConfig.model_validate(weights) if weights else None


def _appends_a_layer(plan: Plan, artifact: Artifact) -> bool:
    training = artifact if artifact.kind.startswith("train") else plan.artifacts[artifact.inputs["model"]]
    return training.kind == "train" and MethodConfig.model_validate(training.config["method"]).rotation is not None


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
    config = ModelConfig.model_validate(base.config)
    folder = None if config.decoder is not None else folder_of(base, results)
    if folder is None and config.decoder is None:
        return None
    if config.kind == "embedding":
        assert folder is not None
        return _without_weights(folder)
    with output_to(Path(os.devnull)):  # libraries warn of one another while they are imported
        from qatlab.models.causal_lm import without_weights

        return without_weights(folder, config.decoder)


def _without_weights(folder: Path) -> Any:
    """A Sentence Transformers folder's modules by their names in the model, with shapes only; None where it cannot be built."""
    with output_to(Path(os.devnull)):  # libraries warn of one another while they are imported
        import torch
        from torch import nn
        from transformers import AutoConfig, AutoModel

    listed = folder / "modules.json"
    modules = read_json(listed) if listed.exists() else [{"name": "0", "path": "", "type": "Transformer"}]
    built = nn.Module()
    try:
        with output_to(Path(os.devnull)), torch.device("meta"):
            for entry in modules:
                if entry["type"].endswith("Transformer"):
                    config = AutoConfig.from_pretrained(folder / entry["path"], trust_remote_code=False)
                    part = nn.Module()
                    part.add_module("model", AutoModel.from_config(config, trust_remote_code=False))
                    built.add_module(entry["name"], part)
                elif entry["type"].endswith("Dense"):
                    shape = read_json(folder / entry["path"] / "config.json")
                    part = nn.Module()
                    part.add_module("linear", nn.Linear(shape["in_features"], shape["out_features"]))
                    built.add_module(entry["name"], part)
    except (OSError, ValueError, KeyError, ImportError):
        return None  # an architecture that this cannot foresee: the job looks at the real one
    return built
