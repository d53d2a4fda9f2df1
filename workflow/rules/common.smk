# Plans of the requested studies, validated before any job starts, and helpers with which rules look up jobs in them.
import gc
import os
import signal
import sys
from inspect import signature
from itertools import groupby
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# Whether another workflow uses this one as a module.
IS_MODULE = not workflow.modifier.is_main_snakefile()
# A plan creates many objects and frees few. Python would search all of them for garbage again and again, in a sixth of the planning time,
# so that it does not do so until the first job starts (see onstart).
if workflow.is_main_process and not IS_MODULE:
    gc.disable()
# Whether these rules are files of this machine. A module can also be read from a commit of a repository; its qatlab is then the installed
# one.
IS_LOCAL = isinstance(workflow.current_basedir, os.PathLike)
if IS_LOCAL:
    sys.path.insert(0, str(Path(workflow.current_basedir).parent))
try:
    import qatlab
except ModuleNotFoundError:
    raise WorkflowError(
        "the Python that runs Snakemake has no qatlab; install the version of these rules there: "
        'pip install "qatlab[workflow]"'
    )

from qatlab.bundle import run_from
from qatlab.commands.init import project
from qatlab.errors import UserError, printable
from qatlab.fork_server import start as start_fork_server
from qatlab.plan.workflow import use_huge_pages, use_this_python
from qatlab.plan.workflow import (
    handle_in_thread,
    outline,
    outline_file,
    read_outlines,
    write_outlines,
)
from qatlab.stage_code import stage_code

BASE = Path(workflow.current_basedir).parents[1] if IS_LOCAL else project()
LOCK = BASE / "envs" / "requirements.txt"
CONF = Path(config.get("conf", BASE / "conf"))
DESCRIPTIONS = "results/plan"
REQUESTED_STUDIES = str(config.get("study", "quickstart"))
# Jobs use this project's qatlab and the Python that runs Snakemake, even if its environment is not activated.
use_this_python(BASE / "workflow")
use_huge_pages()


def overrides():
    """Return the overrides of `--config overrides=…` as a list of strings."""
    given = config.get("overrides", "")
    if isinstance(given, str):
        from qatlab.plan.safe_files import split_overrides, with_closing_quotes

        return split_overrides(with_closing_quotes(given))
    return [str(item) for item in given]


def check_config():
    """Raise WorkflowError for a key of --config that the workflow does not have."""
    unknown = sorted(
        set(config)
        - {"study", "scale", "overrides", "conf", "bundle", "push", "push_public"}
    )
    if unknown:
        raise WorkflowError(
            f"--config takes study, scale, overrides, conf, bundle, push and push_public, not '{unknown[0]}'; "
            'other keys go into overrides="key=value"'
        )


# Whether another process, the one that submitted this job, has planned the studies and shares its file system with this one.
IS_PLANNED = (
    not workflow.is_main_process
    and outline_file(Path(DESCRIPTIONS), REQUESTED_STUDIES).is_file()
)


def load_plans():
    """Return the plans of the studies; none in a job on another machine that can read the outlines of the main process."""
    check_config()
    if IS_PLANNED:
        return []
    from qatlab.plan.plan import load_studies

    if not (CONF / "config.yaml").is_file():
        raise WorkflowError(
            f"conf={CONF}: no config.yaml; name a folder with the files of conf/, as `qatlab init` writes it"
        )
    return load_studies(CONF, REQUESTED_STUDIES, config.get("scale"), overrides())


def load_outlines():
    """Return the outlines that rules read, and the hashes of the stages' code that the main process has computed already."""
    if IS_PLANNED:
        return read_outlines(Path(DESCRIPTIONS), REQUESTED_STUDIES)
    return [outline(plan) for plan in PLANS], {}


def write_plans():
    """Write the configurations that stages read, and the outlines that jobs on other machines read."""
    from qatlab.plan.plan import write_descriptions

    for plan in PLANS:
        write_descriptions(plan, Path(DESCRIPTIONS))
    write_outlines(STUDIES, CODE, Path(DESCRIPTIONS), REQUESTED_STUDIES)


report: "../report/workflow.rst"


try:
    if "bundle" in config:
        run_from(Path(str(config["bundle"])))
    PLANS = load_plans()
    STUDIES, CODE = load_outlines()
except UserError as error:
    raise WorkflowError(printable(error))
JOBS = {path: job for study in STUDIES for path, job in study.jobs.items()}
JOBS_OF = {  # keyed by the kind of artifact that the jobs write
    kind: [JOBS[path] for path in paths]
    for kind, paths in groupby(sorted(JOBS), key=lambda path: path.partition("/")[0])
}


def with_cached_signature(function):
    """Cache the signature of a function, which Snakemake inspects at every call."""
    function.__signature__ = signature(function)
    return function


def job(kind, wildcards):
    """Return the planned job that writes an artifact; raise WorkflowError if the requested studies do not need it."""
    path = f"{kind}/{wildcards.id}"
    if path not in JOBS:
        raise WorkflowError(f"results/{path} is not part of study {REQUESTED_STUDIES}")
    return JOBS[path]


def inputs_of(kind):
    """Return an input function that gives the artifacts from which an artifact is made, keyed by role."""

    @with_cached_signature
    def inputs(wildcards):
        return {
            role: f"results/{path}"
            for role, path in job(kind, wildcards).inputs.items()
        }

    return inputs


def description(kind):
    """Return the path of the file with an artifact's configuration; `{id}` is a wildcard."""
    return f"{DESCRIPTIONS}/{kind}/{{id}}.json"


def code(stage, modules=()):
    """Return the hash of a stage's code. It is a parameter of every rule, so that changed code reruns the jobs of the stage."""
    key = " ".join([stage, *modules])
    if key not in CODE:
        CODE[key] = stage_code(stage, LOCK, modules)
    return CODE[key]


def code_of_job(kind):
    """Return a function that gives `code` for the stage and the modules that one job of it uses, such as those of its source."""

    @with_cached_signature
    def parameter(wildcards):
        return code(kind, job(kind, wildcards).modules)

    return parameter


def check_studies():
    """Check what needs network or model files: that hubs are reachable, and that deployments, scores and schemes fit the models."""
    from qatlab.plan.checks import check_layers
    from qatlab.plan.checks import check_models
    from qatlab.plan.checks import check_hub

    try:
        for plan in PLANS:
            check_hub(plan, Path("results"))
            check_models(plan, Path("results"))
            check_layers(plan, Path("results"))
    except UserError as error:
        raise WorkflowError(printable(error))


if workflow.is_main_process:
    from qatlab.plan.workflow import clear_stale_locks
    from qatlab.plan.plan import trainings

    if not workflow.dryrun and clear_stale_locks(Path(".snakemake")):
        logger.info("removed the locks that a killed workflow left behind")
    for plan in PLANS:
        for line in trainings(plan.runs):
            logger.info(f"{plan.study}: {line}")


# Snakemake does not run the handlers of a module, such as onstart, and a Snakefile cannot determine whether a run is dry. Therefore, the
# plan of a module is written at once. Another workflow can call the handlers: `onstart: qatlab.onstart()`.
if (IS_MODULE or not workflow.is_main_process) and not IS_PLANNED:
    write_plans()


onstart:
    gc.enable()
    handle_in_thread(signal.SIGTERM)
    check_studies()
    write_plans()
    if not workflow.non_local_exec and gpus_here() == 0:
        start_fork_server()
    start_progress_pages()
