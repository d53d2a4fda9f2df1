# The plans of the studies, made and validated before any job, and the helpers that let rules look things up in them.
import os
import shlex
import sys
from functools import cache
from inspect import signature
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from qatlab.errors import UserError, printable
from qatlab.plan.environment import use_this_python
from qatlab.plan.outline import (
    TRAININGS,
    outline,
    outline_file,
    read_outlines,
    write_outlines,
)
from qatlab.plan.sources import stage_code
from qatlab.tables.names import FORMS, LONG, model_folder
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

BASE = Path(workflow.basedir)
LOCK = BASE / "envs" / "requirements.txt"
DESCRIPTIONS = "results/plan"
ASKED_FOR = str(config.get("study", "quickstart"))
CORES_OF_A_CLUSTERS_JOB = 8
# Jobs run this project's qatlab with the Python that runs Snakemake, also when its environment is not activated.
use_this_python(BASE / "workflow")


def overrides():
    given = config.get("overrides", "")
    if isinstance(given, str):
        from qatlab.plan.safe_files import split_overrides

        return split_overrides(given)
    return [str(item) for item in given]


def check_config():
    unknown = sorted(
        set(config) - {"study", "scale", "overrides", "push", "push_public"}
    )
    if unknown:
        raise WorkflowError(
            f"--config takes study, scale, overrides, push and push_public, not '{unknown[0]}'; "
            'other keys go into overrides="key=value"'
        )


PLANNED_ELSEWHERE = (
    not workflow.is_main_process
    and outline_file(Path(DESCRIPTIONS), ASKED_FOR).is_file()
)


def planned():
    """The studies' plans. A job on another machine reads this file again, but plans only where it shares no file system."""
    check_config()
    if PLANNED_ELSEWHERE:
        return []
    from qatlab.plan.study import load_studies

    return load_studies(BASE / "conf", ASKED_FOR, config.get("scale"), overrides())


def outlined():
    """What rules need of the plans, and of the stages' code where the workflow that submitted this job has looked at it."""
    if PLANNED_ELSEWHERE:
        return read_outlines(Path(DESCRIPTIONS), ASKED_FOR)
    return [outline(plan) for plan in PLANS], {}


def write_plans():
    """For stages to read, and for jobs on other machines."""
    from qatlab.plan.study import write_descriptions

    for plan in PLANS:
        write_descriptions(plan, Path(DESCRIPTIONS))
    write_outlines(STUDIES, CODE, Path(DESCRIPTIONS), ASKED_FOR)


report: "../report/workflow.rst"


try:
    PLANS = planned()
    STUDIES, CODE = outlined()
except UserError as error:
    raise WorkflowError(printable(error))
JOBS = {path: job for study in STUDIES for path, job in study.jobs.items()}
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


def asked_often(function):
    """Snakemake asks for the signature of a function at every call; kept with it, it need not be worked out again."""
    function.__signature__ = signature(function)
    return function


def job(kind, wildcards):
    path = f"{kind}/{wildcards.id}"
    if path not in JOBS:
        raise WorkflowError(f"results/{path} is not part of study {ASKED_FOR}")
    return JOBS[path]


def made_from(kind):
    """Input function: the artifacts that one is made from, by role."""

    @asked_often
    def inputs(wildcards):
        return {
            role: f"results/{path}"
            for role, path in job(kind, wildcards).inputs.items()
        }

    return inputs


def description(kind):
    """The file with an artifact's configuration."""
    return f"{DESCRIPTIONS}/{kind}/{{id}}.json"


def code(stage):
    """A parameter of every rule: another one reruns what it made."""
    if stage not in CODE:
        CODE[stage] = stage_code(stage, LOCK)
    return CODE[stage]


def cores():
    """Of this machine as it was given; a cluster's jobs ask for so many unless the profile's set-threads says otherwise."""
    return workflow.cores or CORES_OF_A_CLUSTERS_JOB


@cache
def gpus_here():
    """How many this machine has; None where jobs run on others, of which nothing is known."""
    from qatlab.plan.gpus import count_gpus

    return None if workflow.non_local_exec else count_gpus()


def uses_gpu(job):
    return job.on_gpu and gpus_here() != 0


def of_each(kind, count):
    """One number where all jobs of a kind have the same, or else a function of wildcards, which takes Snakemake longer."""
    counts = {count(made) for path, made in JOBS.items() if path.startswith(f"{kind}/")}
    if len(counts) == 1:
        return counts.pop()

    @asked_often
    def number(wildcards):
        return count(job(kind, wildcards))

    return number


def gpus(kind):
    """One for each process of a stage that can use a GPU; over several nodes, `gres` says it, for --gpus might be dealt unevenly."""
    return of_each(
        kind, lambda made: made.processes * int(made.nodes == 1 and uses_gpu(made))
    )


def of_several_nodes(kind, name):
    """What Slurm is told of a training on several nodes (a task each, which srun starts); else nothing."""

    def told(made):
        if made.nodes == 1:
            return None
        values = {
            "nodes": made.nodes,
            "tasks": made.nodes,
            "mpi": "srun",
            # of each node
            "gres": f"gpu:{made.processes}" if uses_gpu(made) else None,
            "tasks_per_gpu": 0,  # or the plugin takes `tasks` for it
        }
        return values[name]

    return of_each(kind, told)


def on_each_node(kind):
    """What stands before the command of a training on several nodes, within a job of Slurm; else nothing."""

    def command(made):
        srun = f"srun --nodes={made.nodes} --ntasks={made.nodes} --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=1"
        return f"${{SLURM_JOB_ID:+{srun}}} " if made.nodes > 1 else ""

    return of_each(kind, command)


def threads(kind):
    """As many as the study says, or all; where jobs share this machine's GPUs, each takes a GPU's share at least."""

    def count(made):
        if gpus_here() and uses_gpu(made):
            share = min(cores() // gpus_here() * made.processes, cores())
            return max(share, made.threads or 1)
        return made.threads or cores()

    return of_each(kind, count)


def growing(amount, kind=None):
    """Of memory or minutes: where they are reserved, another try asks for more.

    With a kind, each of a training's processes on a node has the amount.
    """
    processes = of_each(kind, lambda made: made.processes) if kind else 1

    def of_job(wildcards):
        return processes(wildcards) if callable(processes) else processes

    @asked_often
    def times(wildcards, attempt):
        return amount * attempt * of_job(wildcards)

    if workflow.non_local_exec:
        return times
    return (
        asked_often(lambda wildcards: amount * of_job(wildcards))
        if callable(processes)
        else amount * processes
    )


def rule_name(stage, study):
    """Of a study's own rule: the stage, and where several studies are asked for, whose it is."""
    return stage if len(STUDIES) == 1 else f"{stage}_{study.study}"


def report_subcategory(study):
    """In the report, where several studies are asked for, whose a table or plot is."""
    return None if len(STUDIES) == 1 else study.study


def study_path(study):
    return f"results/studies/{study.study}"


def study_folder(wildcards, output):
    """Also where outputs are copies of what a storage provider keeps, deep in other folders."""
    return str(
        next(path for path in Path(output[0]).parents if path.parent.name == "studies")
    )


def results_folder(wildcards, output):
    return str(Path(study_folder(wildcards, output)).parents[1])


def study_description(study):
    return f"{DESCRIPTIONS}/study/{study.study}.json"


def study_inputs(study, kinds):
    """Input function: the study's artifacts of some kinds."""

    def inputs(wildcards):
        return [
            f"results/{path}" for path in study.jobs if path.partition("/")[0] in kinds
        ]

    return inputs


def check_what_is_asked_for():
    """What a plan alone cannot tell: whether hubs are within reach, and schemes fit the models' layers."""
    from qatlab.plan.layers import check_layers
    from qatlab.plan.preflight import check_hub

    try:
        for plan in PLANS:
            check_hub(plan, Path("results"))
            check_layers(plan, Path("results"))
    except UserError as error:
        raise WorkflowError(printable(error))


def study_tables(study):
    folder = study_path(study)
    return [
        whole_tables(study),
        f"{folder}/runs.csv",
        f"{folder}/study.json",
        *(f"{folder}/tables/{name}" for name in LONG),
        *(f"{folder}/tables/{name}.{form}" for name in study.views for form in FORMS),
    ]


def whole_tables(study):
    """Beside the tables, unless they show failed runs (see failed.smk)."""
    return f"{study_path(study)}/.tables-are-whole"


def drawn_tables(study):
    """The tables that plots are drawn from."""
    views = [n for n in study.views if n in ("decomposition", "published")]
    return [
        whole_tables(study),
        *(
            f"{study_path(study)}/tables/{name}.csv"
            for name in ["scores", "search", *views]
        ),
    ]


def published_figures(study):
    """The file of others' figures that the study's tables show, if any; it is the project's, whatever stores results."""
    return [local(study.published)] if study.published else []


def published_option(wildcards, input):
    """--input for them."""
    return " ".join(
        f"--input published={shlex.quote(str(path))}" for path in input.published
    )


def study_plots(study):
    return [
        f"{study_path(study)}/plots/{name}.{form}"
        for name in study.plots
        for form in ("svg", "png")
    ]


def study_mteb_results(study):
    return [f"{study_path(study)}/mteb"] if study.has_mteb_results else []


def study_models(study):
    return [f"{study_path(study)}/models"] if study.trained else []


def check_push(study, owner, public):
    """What would fail after the study's last job, said before the first."""
    from qatlab.upload import repositories

    if not isinstance(public, bool):
        raise WorkflowError(f"push_public={public}: give true or false")
    try:
        repositories(owner, study.study, [model_folder(run) for run in study.trained])
    except UserError as error:
        raise WorkflowError(printable(error))


def models_to_push(wildcards):
    """Input function: of the rule push, so that nothing runs for models that cannot be pushed."""
    from qatlab.upload import token_from

    (study,) = STUDIES
    if "push" not in config:
        raise WorkflowError(
            "say whose the models will be on the hub: snakemake push --config push=OWNER"
        )
    if not study.trained:
        raise WorkflowError(
            f"study '{study.study}' trains nothing, so there is nothing to push"
        )
    try:
        token_from(os.environ)
    except UserError as error:
        raise WorkflowError(printable(error))
    return study_models(study)


PUSH_TO = str(config.get("push", ""))
PUSH_PUBLIC = config.get("push_public", False)
if "push" in config:
    if len(STUDIES) > 1:
        raise WorkflowError("push one study at a time: --config study=NAME push=OWNER")
    check_push(STUDIES[0], PUSH_TO, PUSH_PUBLIC)


if workflow.is_main_process:
    from qatlab.plan.locks import clear_stale_locks
    from qatlab.plan.trainings import trainings

    if not workflow.dryrun and clear_stale_locks(Path(".snakemake")):
        logger.info("the locks of a workflow that was killed are cleared")
    for plan in PLANS:
        for line in trainings(plan.runs):
            logger.info(f"{plan.study}: {line}")


if not workflow.is_main_process and not PLANNED_ELSEWHERE:
    write_plans()


onstart:
    check_what_is_asked_for()
    write_plans()
