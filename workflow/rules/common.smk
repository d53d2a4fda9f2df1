# The plan of the study, made and validated before any job, and the helpers that let rules look things up in it.
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from qatlab.artifact import identity
from qatlab.errors import UserError
from qatlab.plan.deployment import made_on_gpu, runs_on_gpu
from qatlab.plan.environment import use_this_python
from qatlab.plan.layers import check_layers
from qatlab.plan.preflight import check_hub
from qatlab.plan.sources import stage_sources
from qatlab.plan.study import load_study, write_descriptions
from qatlab.plan.trainings import trainings
from qatlab.tables.names import FORMS, LONG, model_folder
from qatlab.upload import repositories, token_from
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

BASE = Path(workflow.basedir)
# Relative, so that a moved or copied project finds its results up to date.
LOCK = os.path.relpath(BASE / "envs" / "requirements.txt")
DESCRIPTIONS = "results/plan"
# Jobs run this project's qatlab with the Python that runs Snakemake, also when its environment is not activated.
use_this_python(BASE / "workflow")


def overrides():
    given = config.get("overrides", "")
    return (
        shlex.split(given) if isinstance(given, str) else [str(item) for item in given]
    )


def planned():
    unknown = sorted(
        set(config) - {"study", "scale", "overrides", "push", "push_public"}
    )
    if unknown:
        raise WorkflowError(
            f"--config takes study, scale, overrides, push and push_public, not '{unknown[0]}'; "
            'other keys go into overrides="key=value"'
        )
    try:
        return load_study(
            BASE / "conf",
            str(config.get("study", "quickstart")),
            config.get("scale"),
            overrides(),
        )
    except UserError as error:
        raise WorkflowError(str(error))


report: "../report/workflow.rst"


PLAN = planned()
STUDY = PLAN.study
TRAININGS = ("train", "train_causal_lm")
DEPLOYMENTS = ("deploy", "deploy_causal_lm")
TABULATED = (
    *TRAININGS,
    *DEPLOYMENTS,
    *("encode", "predict"),
    *("score", "score_predictions", "drift"),
)
PLOT_TITLES = {
    "published": "published figures and ours",
    "scores": "scores by output precision",
    "training_loss": "training loss by component",
    "drift": "drift distributions",
    "waterfall": "what quantization costs, by component",
    "pareto": "bytes, quality and speed",
}


def artifact(kind, wildcards):
    path = f"{kind}/{wildcards.id}"
    if path not in PLAN.artifacts:
        raise WorkflowError(f"results/{path} is not part of study '{STUDY}'")
    return PLAN.artifacts[path]


def made_from(kind):
    """Input function: the artifacts that one is made from, by role."""

    def inputs(wildcards):
        return {
            role: f"results/{path}"
            for role, path in artifact(kind, wildcards).inputs.items()
        }

    return inputs


def description(kind):
    """Params function: the file with the artifact's configuration."""

    def path(wildcards):
        return f"{DESCRIPTIONS}/{artifact(kind, wildcards).path}.json"

    return path


def input_options(wildcards, input):
    """--input ROLE=PATH for each named artifact among a rule's inputs."""
    roles = {
        role: path for role, path in input.items() if role not in ("sources", "lock")
    }
    return " ".join(
        f"--input {role}={shlex.quote(str(path))}" for role, path in roles.items()
    )


def sources(stage):
    return [os.path.relpath(path) for path in stage_sources(stage)]


def gpus(kind):
    """1 where the stage can use a GPU; ONNX Runtime, OpenVINO and torchao's integer weights run on the processor."""

    def count(wildcards):
        made = artifact(kind, wildcards)
        if kind in TRAININGS:
            return 1
        if kind in ("encode", "predict"):
            return int(runs_on_gpu(PLAN.artifacts[made.inputs["deploy"]]))
        return int(made_on_gpu(made))

    return count


def needs_cores(made):
    """Whether a deployment runs the model on training texts: to fit a rotation or ranges, or to measure drift."""
    return "data" in made.inputs


def deploy_threads(wildcards):
    return workflow.cores if needs_cores(artifact("deploy", wildcards)) else 1


def study_folder(wildcards, output):
    return str(Path(output[0]).parents[len(Path(output[0]).parts) - 4])


def study_identity():
    """Changes with anything that the study's tables and plots show besides their inputs."""
    return identity(STUDY, PLAN.study_description())


def study_inputs(kinds):
    return [f"results/{a.path}" for a in PLAN.artifacts.values() if a.kind in kinds]


def check_what_is_asked_for():
    """What a plan alone cannot tell: whether hubs are within reach, and schemes fit the models' layers."""
    try:
        check_hub(PLAN, Path("results"))
        check_layers(PLAN, Path("results"))
    except UserError as error:
        raise WorkflowError(str(error))


def study_tables():
    return [
        f"results/studies/{STUDY}/runs.csv",
        *(f"results/studies/{STUDY}/tables/{name}" for name in LONG),
        *(
            f"results/studies/{STUDY}/tables/{name}.{form}"
            for name in PLAN.view_names()
            for form in FORMS
        ),
    ]


def drawn_tables():
    """The tables that plots are drawn from."""
    views = [
        name for name in PLAN.view_names() if name in ("decomposition", "published")
    ]
    return [
        f"results/studies/{STUDY}/tables/{name}.csv"
        for name in ["scores", "search", *views]
    ]


def published_figures():
    """The file of others' figures that the study's tables show, if any."""
    return [os.path.relpath(PLAN.published.file)] if PLAN.published else []


def published_option(wildcards, input):
    return input_options(wildcards, {"published": path for path in input.published})


def study_plots():
    return [
        f"results/studies/{STUDY}/plots/{name}.{form}"
        for name in PLAN.plot_names()
        for form in ("svg", "png")
    ]


def study_mteb_results():
    return [f"results/studies/{STUDY}/mteb"] if PLAN.has_mteb_results() else []


def study_models():
    return [f"results/studies/{STUDY}/models"] if PLAN.trained_runs() else []


def check_push(owner, public):
    """What would fail after the study's last job, said before the first."""
    if not isinstance(public, bool):
        raise WorkflowError(f"push_public={public}: give true or false")
    try:
        repositories(
            owner, STUDY, [model_folder(run.name) for run in PLAN.trained_runs()]
        )
    except UserError as error:
        raise WorkflowError(str(error))


def models_to_push(wildcards):
    """Input function: of the rule push, so that nothing runs for models that cannot be pushed."""
    if "push" not in config:
        raise WorkflowError(
            "say whose the models will be on the hub: snakemake push --config push=OWNER"
        )
    if not study_models():
        raise WorkflowError(
            f"study '{STUDY}' trains nothing, so there is nothing to push"
        )
    try:
        token_from(os.environ)
    except UserError as error:
        raise WorkflowError(str(error))
    return study_models()


PUSH_TO = str(config.get("push", ""))
PUSH_PUBLIC = config.get("push_public", False)
if "push" in config:
    check_push(PUSH_TO, PUSH_PUBLIC)


if workflow.is_main_process:  # jobs on other machines read this file again
    for line in trainings(PLAN.runs):
        logger.info(f"{STUDY}: {line}")


onstart:
    check_what_is_asked_for()
    write_descriptions(PLAN, Path(DESCRIPTIONS))
