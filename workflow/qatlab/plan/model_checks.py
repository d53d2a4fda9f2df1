"""Check that a study's deployments and scores fit its embedding models, from the models' files before the first job.

Models of the hub that are not downloaded yet are checked by their jobs.
"""

from pathlib import Path

from qatlab.config.evaluate import EvaluateConfig
from qatlab.errors import UserError
from qatlab.models.settings import check_similarity, embedding_dimension, hindrance_to_export, named_similarity
from qatlab.plan.artifacts import Artifact
from qatlab.plan.model_folder import base_model, folder_of, model_config
from qatlab.plan.plan import Plan
from qatlab.plan.runs import Run
from qatlab.quantization.rotations import NEED_EMBEDDINGS


def check_models(plan: Plan, results: Path) -> None:
    """Raise UserError for a model that a deployment cannot export or that the evaluation cannot score."""
    for run in plan.runs:
        base = base_model(plan, plan.artifacts[run.trained])
        config = model_config(base)
        folder = folder_of(base, results) if config.kind == "embedding" else None
        if folder is not None:
            _check_run(plan, run, folder, f"model '{config.name}'")


def _check_run(plan: Plan, run: Run, folder: Path, model: str) -> None:
    hindrance = hindrance_to_export(folder)
    exported = [name for name, config in run.config.deploy.items() if config.exported]
    if hindrance and exported:
        raise UserError(f"{model}: {hindrance}; leave its deployments out: {', '.join(exported)}")
    if run.config.evaluate.similarity == "model":
        check_similarity(named_similarity(folder), model)
    available = embedding_dimension(folder)
    if available is not None and run.config.method.rotation is None:
        _check_dimensions(run.config.evaluate, available, model)
        for task in run.scored:
            encoded = plan.artifacts[plan.artifacts[run.scored[task]].inputs["encode"]]
            _check_axes(run.config.evaluate, available, task[1], _documents(plan.artifacts[encoded.inputs["task"]]))


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
