# The plans of the studies, made and validated before any job, and the helpers that let rules look things up in it.
import os
import shlex
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from qatlab.artifact import identity
from qatlab.errors import UserError
from qatlab.plan.deployment import made_on_gpu, runs_on_gpu
from qatlab.plan.environment import use_this_python
from qatlab.plan.hardware import count_gpus
from qatlab.plan.layers import check_layers
from qatlab.plan.locks import clear_stale_locks
from qatlab.plan.preflight import check_hub
from qatlab.plan.sources import stage_sources
from qatlab.plan.study import load_studies, write_descriptions
from qatlab.plan.trainings import trainings
from qatlab.tables.names import FORMS, LONG, model_folder
from qatlab.upload import repositories, token_from
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

BASE = Path(workflow.basedir)
# Relative, so that a moved or copied project finds its results up to date.
LOCK = os.path.relpath(BASE / "envs" / "requirements.txt")
DESCRIPTIONS = "results/plan"
CORES_OF_A_CLUSTERS_JOB = 8
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
        return load_studies(
            BASE / "conf",
            str(config.get("study", "quickstart")),
            config.get("scale"),
            overrides(),
        )
    except UserError as error:
        raise WorkflowError(str(error))


report: "../report/workflow.rst"


PLANS = planned()
ARTIFACTS = {path: made for plan in PLANS for path, made in plan.artifacts.items()}
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
    if path not in ARTIFACTS:
        studies = ", ".join(plan.study for plan in PLANS)
        raise WorkflowError(f"results/{path} is not part of study {studies}")
    return ARTIFACTS[path]


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


def cores():
    """Of this machine as it was given; a cluster's jobs ask for so many unless the profile's set-threads says otherwise."""
    return workflow.cores or CORES_OF_A_CLUSTERS_JOB


@cache
def gpus_here():
    """How many this machine has; None where jobs run on others, of which nothing is known."""
    return None if workflow.non_local_exec else count_gpus()


def uses_gpu(kind, made):
    """ONNX Runtime, OpenVINO and torchao's integer weights run on the processor."""
    if gpus_here() == 0:
        return False
    if kind in TRAININGS:
        return True
    if kind in ("encode", "predict"):
        return runs_on_gpu(ARTIFACTS[made.inputs["deploy"]])
    return made_on_gpu(made)


def distributed(kind, wildcards):
    """Over how many processes and nodes a training is spread; (1, 1) for other stages."""
    trainer = artifact(kind, wildcards).config.get("trainer", {})
    spread = trainer.get("distributed", {})
    return spread.get("processes", 1), spread.get("nodes", 1)


def gpus(kind):
    """One for each process of a stage that can use a GPU; over several nodes, `gres` says it, for --gpus might be dealt unevenly."""

    def count(wildcards):
        processes, nodes = distributed(kind, wildcards)
        return (
            processes if nodes == 1 and uses_gpu(kind, artifact(kind, wildcards)) else 0
        )

    return count


def of_several_nodes(kind, name):
    """Resource function: what Slurm is told of a training on several nodes (a task each, which srun starts); else nothing."""

    def resource(wildcards):
        processes, nodes = distributed(kind, wildcards)
        if nodes == 1:
            return None
        gpu = uses_gpu(kind, artifact(kind, wildcards))
        told = {
            "nodes": nodes,
            "tasks": nodes,
            "mpi": "srun",
            "gres": f"gpu:{processes}" if gpu else None,  # of each node
            "tasks_per_gpu": 0,  # or the plugin takes `tasks` for it
        }
        return told[name]

    return resource


def on_each_node(kind):
    """Params function: what stands before the command of a training on several nodes, within a job of Slurm; else nothing."""

    def command(wildcards):
        _, nodes = distributed(kind, wildcards)
        srun = f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=1"
        return f"${{SLURM_JOB_ID:+{srun}}} " if nodes > 1 else ""

    return command


def threads(kind):
    """As many as the study says, or all; where jobs share this machine's GPUs, each takes a GPU's share at least."""

    def count(wildcards):
        made = artifact(kind, wildcards)
        fixed = made.config.get("trainer", made.config).get("threads")
        if gpus_here() and uses_gpu(kind, made):
            processes, _ = distributed(kind, wildcards)
            return max(min(cores() // gpus_here() * processes, cores()), fixed or 1)
        return fixed or cores()

    return count


def growing(amount, kind=None):
    """Of memory or minutes: another try asks for more. With a kind, each of a training's processes on a node has the amount."""

    def times(wildcards, attempt):
        processes, _ = distributed(kind, wildcards) if kind else (1, 1)
        return amount * attempt * processes

    return times


def needs_cores(made):
    """Whether a deployment runs the model on training texts: to fit a rotation or ranges, or to measure drift."""
    return "data" in made.inputs


def deploy_threads(wildcards):
    return cores() if needs_cores(artifact("deploy", wildcards)) else 1


def rule_name(stage, plan):
    """Of a study's own rule: the stage, and where several studies are asked for, whose it is."""
    return stage if len(PLANS) == 1 else f"{stage}_{plan.study}"


def report_subcategory(plan):
    """In the report, where several studies are asked for, whose a table or plot is."""
    return None if len(PLANS) == 1 else plan.study


def study_path(plan):
    return f"results/studies/{plan.study}"


def study_folder(wildcards, output):
    return str(Path(output[0]).parents[len(Path(output[0]).parts) - 4])


def study_description(plan):
    return f"{DESCRIPTIONS}/study/{plan.study}.json"


def study_identity(plan):
    """Changes with anything that the study's tables and plots show besides their inputs."""
    return identity(plan.study, plan.study_description())


def study_inputs(plan, kinds):
    return [f"results/{a.path}" for a in plan.artifacts.values() if a.kind in kinds]


def check_what_is_asked_for():
    """What a plan alone cannot tell: whether hubs are within reach, and schemes fit the models' layers."""
    try:
        for plan in PLANS:
            check_hub(plan, Path("results"))
            check_layers(plan, Path("results"))
    except UserError as error:
        raise WorkflowError(str(error))


def study_tables(plan):
    folder = study_path(plan)
    return [
        f"{folder}/runs.csv",
        f"{folder}/study.json",
        *(f"{folder}/tables/{name}" for name in LONG),
        *(
            f"{folder}/tables/{name}.{form}"
            for name in plan.view_names()
            for form in FORMS
        ),
    ]


def drawn_tables(plan):
    """The tables that plots are drawn from."""
    views = [n for n in plan.view_names() if n in ("decomposition", "published")]
    return [
        f"{study_path(plan)}/tables/{name}.csv" for name in ["scores", "search", *views]
    ]


def published_figures(plan):
    """The file of others' figures that the study's tables show, if any."""
    return [os.path.relpath(plan.published.file)] if plan.published else []


def published_option(wildcards, input):
    return input_options(wildcards, {"published": path for path in input.published})


def study_plots(plan):
    return [
        f"{study_path(plan)}/plots/{name}.{form}"
        for name in plan.plot_names()
        for form in ("svg", "png")
    ]


def study_mteb_results(plan):
    return [f"{study_path(plan)}/mteb"] if plan.has_mteb_results() else []


def study_models(plan):
    return [f"{study_path(plan)}/models"] if plan.trained_runs() else []


def check_push(plan, owner, public):
    """What would fail after the study's last job, said before the first."""
    if not isinstance(public, bool):
        raise WorkflowError(f"push_public={public}: give true or false")
    try:
        repositories(
            owner, plan.study, [model_folder(run.name) for run in plan.trained_runs()]
        )
    except UserError as error:
        raise WorkflowError(str(error))


def models_to_push(wildcards):
    """Input function: of the rule push, so that nothing runs for models that cannot be pushed."""
    (plan,) = PLANS
    if "push" not in config:
        raise WorkflowError(
            "say whose the models will be on the hub: snakemake push --config push=OWNER"
        )
    if not study_models(plan):
        raise WorkflowError(
            f"study '{plan.study}' trains nothing, so there is nothing to push"
        )
    try:
        token_from(os.environ)
    except UserError as error:
        raise WorkflowError(str(error))
    return study_models(plan)


PUSH_TO = str(config.get("push", ""))
PUSH_PUBLIC = config.get("push_public", False)
if "push" in config:
    if len(PLANS) > 1:
        raise WorkflowError("push one study at a time: --config study=NAME push=OWNER")
    check_push(PLANS[0], PUSH_TO, PUSH_PUBLIC)


if workflow.is_main_process:  # jobs on other machines read this file again
    if not workflow.dryrun and clear_stale_locks(Path(".snakemake")):
        logger.info("the locks of a workflow that was killed are cleared")
    for plan in PLANS:
        for line in trainings(plan.runs):
            logger.info(f"{plan.study}: {line}")


onstart:
    check_what_is_asked_for()
    for plan in PLANS:
        write_descriptions(plan, Path(DESCRIPTIONS))
