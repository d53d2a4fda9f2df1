"""Checks of models and of the hub before the first job, rather than at the start of a training.

The GPUs and packages that a deployment or scheme needs are checked by `qatlab.plan.schemes.check_hardware`.
"""

from pathlib import Path
from typing import Any

from qatlab.bundle import in_use
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.method import MethodConfig, TrainingConfig
from qatlab.config.model import ModelConfig
from qatlab.config.precision import AxesConfig
from qatlab.config.weights import WeightsConfig
from qatlab.deployments.deployment import Deployment
from qatlab.errors import UserError
from qatlab.families.family import family_of
from qatlab.hub import ALLOWED_FILES, IGNORED_FILES, hub_errors_explained, info
from qatlab.job import START
from qatlab.models.folders import model_source, packaged_folder
from qatlab.models.settings import (
    check_similarity,
    embedding_dimension,
    export_hindrance,
    hindrance_to_export,
    named_similarity,
)
from qatlab.plan.artifacts import Artifact
from qatlab.plan.plan import Plan
from qatlab.plan.runs import Run
from qatlab.quantization.rotations import NEED_EMBEDDINGS
from qatlab.registry import Registered, origin_of
from qatlab.sources.source import Source


def base_model(plan: Plan, artifact: Artifact) -> Artifact:
    """Return the base model of a training or deployment."""
    while artifact.kind != "model":
        artifact = plan.artifacts[artifact.inputs["model"]]
    return artifact


def model_config(base: Artifact) -> ModelConfig:
    """Return the configuration of a base model."""
    assert isinstance(base.config, ModelConfig)
    return base.config


def folder_of(base: Artifact, results: Path) -> Path | None:
    """Return the folder of a base model: fetched, bundled, local or of an installed package; None if it is not downloaded yet.

    Args:
        base: artifact of the kind "model", whose model is not built from a configuration.
        results: folder of artifacts.
    """
    fetched = results / base.path / "model"
    if fetched.is_dir():
        return fetched
    bundle = in_use()
    if bundle is not None:
        return bundle.folder / base.path / "model"
    config = model_config(base)
    source = model_source(config)
    if source == "local":
        return Path(config.name).expanduser()
    return packaged_folder(config.name) if source == "package" else None


# Check that schemes and adapters fit a model's layers, before the first job instead of at the start of a training.
#
# The model is built from its configuration, without weights. A model of the hub that is not downloaded yet is checked by its job.


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
            _check_layers_of(models[base.path], config)


def _layer_config(artifact: Artifact) -> MethodConfig | WeightsConfig | None:
    if isinstance(artifact.config, TrainingConfig):
        method = artifact.config.method
        return method if method.weights or method.lora else None
    return artifact.config.scheme_of_layers() if isinstance(artifact.config, Deployment) else None


def _appends_a_layer(plan: Plan, artifact: Artifact) -> bool:
    training = artifact if artifact.kind == "train" else plan.artifacts[artifact.inputs["model"]]
    if not isinstance(training.config, TrainingConfig):
        return False
    first = training.inputs.get(START)
    return training.config.method.appends_a_layer or (
        first is not None and _appends_a_layer(plan, plan.artifacts[first])
    )


def _check_layers_of(model: Any, config: MethodConfig | WeightsConfig) -> None:
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


# Check that a study's deployments and scores fit its embedding models, from the models' files before the first job.
#
# Models of the hub that are not downloaded yet are checked by their jobs.


def check_models(plan: Plan, results: Path) -> None:
    """Raise UserError for a model that a deployment cannot export or that the evaluation cannot score."""
    for run in plan.runs:
        base = base_model(plan, plan.artifacts[run.trained])
        config = model_config(base)
        folder = folder_of(base, results) if config.embeds else None
        if folder is not None:
            _check_run(plan, run, folder, config)


def _check_run(plan: Plan, run: Run, folder: Path, config: ModelConfig) -> None:
    model, is_static = f"model '{config.name}'", config.kind == "static"
    hindrance = export_hindrance("StaticEmbedding", {}, True) if is_static else hindrance_to_export(folder)
    exported = [name for name, deployment in run.config.deploy.items() if deployment.exported]
    if hindrance and exported:
        raise UserError(f"{model}: {hindrance}; leave its deployments out: {', '.join(exported)}")
    if run.config.evaluate.similarity == "model":
        check_similarity(named_similarity(folder), model)
    available = None if is_static else embedding_dimension(folder)
    if available is not None:
        _check_bits(run, available)
        _check_head(plan, run, available)
    if available is not None and not run.config.appends_a_layer:
        _check_dimensions(run.config.evaluate, available, model)
        for task in run.scored:
            encoded = plan.artifacts[plan.artifacts[run.scored[task]].inputs["encode"]]
            _check_axes(run.config.evaluate, available, task[1], _documents(plan.artifacts[encoded.inputs["task"]]))


def _check_bits(run: Run, dim: int) -> None:
    """Raise UserError for over-complete axes with no more bits than embeddings have dimensions, `dim` in the base model."""
    config = run.config
    method, first = config.method, config.first
    axes: list[tuple[str, AxesConfig | None, int]] = []
    if first is None or not first.appends_a_layer:
        axes.append((f"method '{method.name}': rotation", method.rotation, dim))
        if method.head is not None and method.rotation is None:
            axes.append((f"method '{method.name}': head.start", method.head.start, dim))
    if not config.appends_a_layer:
        for name, deployment in config.deploy.items():
            axes.append((f"deploy '{name}': rotation", getattr(deployment, "rotation", None), dim))
        most = max(kept or dim for kept in config.evaluate.dimensions)
        axes += [(f"evaluate.rotations: {value.label}", value, most) for value in config.evaluate.rotations]
    for key, value, dimensions in axes:
        bits = None if value is None else value.dimensions_out(dimensions)
        if bits is not None and bits <= dimensions:
            raise UserError(
                f"{key}: overcomplete needs more bits than the {dimensions} dimensions of the embeddings, not {bits}; raise bits"
            )


def _check_head(plan: Plan, run: Run, dim: int) -> None:
    """Raise UserError for a head with fewer documents than it needs, where their number is known before the jobs run."""
    head = run.config.method.head
    if head is None:
        return
    encodings = {role: plan.artifacts[path].inputs for role, path in plan.artifacts[run.trained].inputs.items()}
    counts = [_rows(plan.artifacts[inputs["pairs"]]) for inputs in encodings.values() if "pairs" in inputs]
    counts += [_documents(plan.artifacts[inputs["task"]]) for inputs in encodings.values() if "task" in inputs]
    if None in counts:
        return
    try:
        head.check_documents(sum(min(count, head.rows) for count in counts if count is not None), dim)
    except ValueError as error:
        raise UserError(f"method '{run.config.method.name}': {error}") from None


def _rows(data: Artifact) -> int | None:
    """Return the number of training rows that are kept; None if it is unknown before the jobs run."""
    assert isinstance(data.config, Source)
    if data.config.rows is not None:
        return data.config.rows
    counts = None if in_use() else data.config.counts()
    return None if counts is None else counts.kept


def _check_dimensions(evaluate: EvaluateConfig, available: int, model: str) -> None:
    """Raise UserError if more dimensions are to be kept than embeddings have."""
    for kept in evaluate.dimensions:
        if kept is not None and kept > available:
            raise UserError(
                f"evaluate.dimensions: the embeddings of {model} have {available} dimensions, so {kept} cannot be kept"
            )


def _check_axes(evaluate: EvaluateConfig, available: int, task: str, documents: int | None) -> None:
    """Raise UserError for axes that are fitted on at least as many embeddings as dimensions, where there are fewer.

    Args:
        evaluate: evaluation of the study.
        available: number of dimensions of the model's embeddings.
        task: name of the task, for the message.
        documents: maximum number of documents of the task; None if it is unknown before the jobs run.
    """
    least = min(kept or available for kept in evaluate.dimensions)
    for axes in evaluate.rotations:
        on_training = axes.fitted_on == "training"
        count = evaluate.range_rows if on_training else documents
        if axes.kind in NEED_EMBEDDINGS and count is not None and count < least:
            fitted_on = "training documents (evaluate.range_rows)" if on_training else f"documents of task '{task}'"
            raise UserError(
                f"evaluate.rotations: {axes.label} in {least} dimensions needs at least as many embeddings, and there are {count} "
                f"{fitted_on}; leave it out, or list it in evaluate.bit_axes, which leaves out what cannot be fitted"
            )


def _documents(task: Artifact) -> int | None:
    """Return the maximum number of documents of a task by its configuration or files; None if they do not determine it."""
    counts = [
        getattr(task.config, "documents", None),
        task.origin.get("documents") if isinstance(task.origin, dict) else None,
    ]
    return min((count for count in counts if isinstance(count, int)), default=None)


def check_hub(plan: Plan, results: Path) -> None:
    """Raise UserError for a hub name, revision or network that would make a job fail. Existing artifacts are not checked."""
    if in_use() is not None:  # the plan has checked that the bundle is complete
        return
    for artifact in plan.artifacts.values():
        at = _on_hub(artifact)
        if at is not None and not (results / artifact.path).exists():
            _check_repository(artifact.kind, *at)


def _on_hub(artifact: Artifact) -> tuple[str, str] | None:
    """Return the name and revision of the hub repository that an artifact is made from; None without one."""
    config = artifact.config
    if isinstance(config, ModelConfig):
        return (config.name, config.revision) if artifact.origin == "hub" and config.revision else None
    return config.on_hub(origin_of(artifact.origin)) if isinstance(config, Registered) else None


def _check_repository(kind: str, name: str, revision: str) -> None:
    repository = "model" if kind == "model" else "dataset"
    if _is_cached(repository, name, revision):
        return
    with hub_errors_explained(kind, name, revision):
        info(name, revision, repository)


def _is_cached(repository: str, name: str, revision: str) -> bool:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    patterns = {"allow_patterns": ALLOWED_FILES, "ignore_patterns": IGNORED_FILES} if repository == "model" else {}
    try:
        snapshot_download(name, revision=revision, repo_type=repository, local_files_only=True, **patterns)
    except (OSError, HFValidationError):
        return False
    return True
