"""Whether a study's deployments and scores fit its embedding models, asked of the models' files before the first job.

Models of the hub that are not here yet are left to their jobs.
"""

from pathlib import Path

from qatlab.config.evaluate import EvaluateConfig
from qatlab.errors import UserError
from qatlab.models.dense_encoder import embedding_dimension, hindrance_to_export
from qatlab.models.similarity import check_similarity, named_similarity
from qatlab.plan.artifacts import Artifact
from qatlab.plan.model_folder import base_model, folder_of, model_config
from qatlab.plan.plan import Plan
from qatlab.plan.runs import Run
from qatlab.quantization.rotations import NEED_EMBEDDINGS


def check_models(plan: Plan, results: Path) -> None:
    """Raises UserError for a model that cannot be exported as a deployment asks, or scored as the evaluation asks."""
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
    """Raises UserError where more dimensions are to be kept than embeddings have."""
    for kept in evaluate.dimensions:
        if kept is not None and kept > available:
            raise UserError(
                f"evaluate.dimensions: the embeddings of {model} have {available} dimensions, so {kept} cannot be kept"
            )


def _check_axes(evaluate: EvaluateConfig, available: int, task: str, documents: int | None) -> None:
    """Raises UserError for axes that need as many embeddings as dimensions, and have fewer to be fitted on.

    Args:
        available: dimensions of the model's embeddings.
        documents: of the task, at most; None where the plan does not know.
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
    """How many documents a task has at most, by its configuration or its files."""
    counts = [
        getattr(task.config, "documents", None),
        task.origin.get("documents") if isinstance(task.origin, dict) else None,
    ]
    return min((count for count in counts if isinstance(count, int)), default=None)
