# The plans of the studies, made and validated before any job, and the helpers that let rules look things up in them.
import sys
from inspect import signature
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from qatlab.bundle import run_from
from qatlab.errors import UserError, printable
from qatlab.families.parts import card_modules
from qatlab.fork_server import start as start_fork_server
from qatlab.plan.environment import use_this_python
from qatlab.plan.outline import (
    outline,
    outline_file,
    read_outlines,
    write_outlines,
)
from qatlab.stage_code import stage_code
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

BASE = Path(workflow.basedir)
LOCK = BASE / "envs" / "requirements.txt"
DESCRIPTIONS = "results/plan"
ASKED_FOR = str(config.get("study", "quickstart"))
# Jobs run this project's qatlab with the Python that runs Snakemake, also when its environment is not activated.
use_this_python(BASE / "workflow")


def overrides():
    given = config.get("overrides", "")
    if isinstance(given, str):
        from qatlab.plan.safe_files import split_overrides, with_closing_quotes

        return split_overrides(with_closing_quotes(given))
    return [str(item) for item in given]


def check_config():
    unknown = sorted(
        set(config) - {"study", "scale", "overrides", "bundle", "push", "push_public"}
    )
    if unknown:
        raise WorkflowError(
            f"--config takes study, scale, overrides, bundle, push and push_public, not '{unknown[0]}'; "
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
    if "bundle" in config:
        run_from(Path(str(config["bundle"])))
    PLANS = planned()
    STUDIES, CODE = outlined()
except UserError as error:
    raise WorkflowError(printable(error))
JOBS = {path: job for study in STUDIES for path, job in study.jobs.items()}
JOBS_OF = {  # by the kind of artifact that they make
    kind: [JOBS[path] for path in paths]
    for kind, paths in groupby(sorted(JOBS), key=lambda path: path.partition("/")[0])
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


def code(stage, modules=()):
    """A parameter of every rule: another one reruns what it made."""
    key = " ".join([stage, *modules])
    if key not in CODE:
        CODE[key] = stage_code(stage, LOCK, modules)
    return CODE[key]


def code_of_job(kind):
    """The same, where an artifact is made by the module of its own kind of source."""

    @asked_often
    def parameter(wildcards):
        return code(kind, job(kind, wildcards).modules)

    return parameter


def check_what_is_asked_for():
    """What a plan alone cannot tell: whether hubs are within reach, and deployments, scores and schemes fit the models."""
    from qatlab.plan.layers import check_layers
    from qatlab.plan.model_checks import check_models
    from qatlab.plan.preflight import check_hub

    try:
        for plan in PLANS:
            check_hub(plan, Path("results"))
            check_models(plan, Path("results"))
            check_layers(plan, Path("results"))
    except UserError as error:
        raise WorkflowError(printable(error))


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
    if not workflow.non_local_exec and gpus_here() == 0:
        start_fork_server()
