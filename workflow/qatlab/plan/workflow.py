"""What the workflow's rules need: the environment of jobs, stale locks, and the outline of a plan, kept in a file.

It is light, so that a job on another machine plans nothing.
"""

import fcntl
import json
import os
import shutil
import signal
import sys
from _thread import start_new_thread
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from qatlab.artifact import identity, read_json

if TYPE_CHECKING:
    from qatlab.plan.artifacts import Artifact
    from qatlab.plan.plan import Plan

# Environment variable that PyTorch reads when it first reserves 2 MB or more.
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"


def use_this_python(library: Path) -> None:
    """Make jobs run the current Python and import from `library`, whether or not its environment is activated."""
    _prepend("PATH", str(Path(sys.executable).parent))
    _prepend("PYTHONPATH", str(library))


def use_huge_pages() -> None:
    """Make PyTorch ask for huge pages in jobs, unless the user has set its variable.

    The gradients and the optimizer's state of a table of word embeddings are mapped anew in each step. With huge pages this takes a
    fraction of the time, where the kernel permits them (`madvise` or `always` in /sys/kernel/mm/transparent_hugepage/enabled). No result
    depends on it.
    """
    os.environ.setdefault(HUGE_PAGES, "1")


def _prepend(variable: str, folder: str) -> None:
    before = os.environ.get(variable)
    os.environ[variable] = os.pathsep.join([folder, before] if before else [folder])


def handle_in_thread(number: int) -> None:
    """Run the present handler of a signal in a thread of its own, so that it can wait for a lock that the main thread holds.

    Snakemake's handler of SIGTERM takes the lock of its scheduler. If the signal arrives while the main thread holds that lock, for
    example while it finishes a job, a handler in the main thread waits for ever.

    Args:
        number: number of the signal; nothing changes if it has the default handler or is ignored.
    """
    handler = signal.getsignal(number)
    if callable(handler):
        # A threading.Thread takes a lock, too, to start.
        signal.signal(number, lambda number, frame: start_new_thread(handler, (number, None)))


# Removal of Snakemake's locks that a killed workflow left, as opposed to those of a running one.
#
# Snakemake records the files that a workflow may write in .snakemake/locks, and refuses a second workflow on them. A workflow that
# was killed by SIGKILL or a power cut leaves its records, and Snakemake cannot determine whether it is still running. Therefore,
# each workflow of qatlab also holds a shared lock of the operating system, which ends with its process in any case.

LOCKS = "locks"
HELD = "qatlab.lock"
_held: list[IO[str]] = []  # open until the process ends: closing a file releases its lock


def clear_stale_locks(folder: Path) -> bool:
    """Mark this process as a running workflow, and remove Snakemake's locks if no other workflow is running.

    Args:
        folder: the folder .snakemake of the working directory.

    Returns:
        Whether there were stale locks. On a file system without locks nothing is removed, and Snakemake's message explains `--unlock`.
    """
    folder.mkdir(exist_ok=True)
    file = (folder / HELD).open("a")
    try:
        alone = _try_lock(file)
        stale = alone and (folder / LOCKS).is_dir() and any((folder / LOCKS).iterdir())
        if stale:
            shutil.rmtree(folder / LOCKS)
            (folder / LOCKS).mkdir()
        fcntl.flock(file, fcntl.LOCK_SH)
    except OSError:
        file.close()
        return False
    _held.append(file)
    return bool(stale)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True)
class Job:
    """Inputs and resources of the job that makes one artifact.

    Attributes:
        inputs: paths below results/, by role.
        on_gpu: whether it uses a GPU where one exists, unlike ONNX Runtime, OpenVINO and torchao's integer weights.
        threads: number of CPU threads that the study sets; None for all.
        processes: number of processes of a training on each of its nodes.
        nodes: number of machines of a training.
        modules: the registered modules that it runs besides its stage's own.
    """

    inputs: dict[str, str]
    on_gpu: bool
    threads: int | None
    processes: int = 1
    nodes: int = 1
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outline:
    """Artifacts and files of a study.

    Attributes:
        identity: fingerprint of everything that the study's tables and plots show besides their inputs.
        command: command that makes the study's page, which the page shows.
        jobs: the job of each artifact, by `<kind>/<name>`.
        views: names of its wide tables.
        plots: titles of its plots, by name.
        drawn: names of the wide tables that its plots show.
        modules: modules that make its tables and its plots, by stage.
        trained: names of its runs that train a model.
        has_mteb_results: whether one of its tasks is a task of mteb.
        published: file of the published results that its tables show, relative to the working directory.
    """

    study: str
    identity: str
    command: str
    jobs: dict[str, Job]
    views: list[str]
    plots: dict[str, str]
    drawn: list[str]
    modules: dict[str, list[str]]
    trained: list[str]
    has_mteb_results: bool
    published: str | None


def outline(plan: "Plan") -> Outline:
    """Build the outline of a plan, which the Snakemake rules read."""
    from qatlab.pages.page import command
    from qatlab.plots.plot import plots_of
    from qatlab.tables.table import tables_of

    record = plan.record()
    description = {**plan.study_description(), "config": record.model_dump(mode="json", exclude={"overrides"})}
    tables, plots = tables_of(record), plots_of(record)
    deployments = {path: artifact for path, artifact in plan.artifacts.items() if artifact.kind == "deploy"}
    return Outline(
        plan.study,
        identity(plan.study, description),
        command(record),
        {path: _job(artifact, deployments) for path, artifact in plan.artifacts.items()},
        list(tables),
        {name: plot.title for name, plot in plots.items()},
        [table for table in tables if any(table in plot.tables for plot in plots.values())],
        {
            "tables": _modules(tables.values()),
            "plots": _modules(plots.values()),
            "page": _modules([*tables.values(), *plots.values()]),
        },
        [run.name for run in plan.trained_runs()],
        plan.has_mteb_results(),
        os.path.relpath(plan.published.file) if plan.published else None,
    )


def _modules(instances: Iterable[object]) -> list[str]:
    """Return the names of the modules that define the classes of instances."""
    return sorted({type(instance).__module__ for instance in instances})


def _job(artifact: "Artifact", deployments: "dict[str, Artifact]") -> Job:
    from qatlab.config.method import TrainingConfig
    from qatlab.config.model import EncodeConfig
    from qatlab.deployments.deployment import Deployment
    from qatlab.plan.artifacts import registered_modules

    modules = registered_modules(artifact)
    config = artifact.config
    if isinstance(config, TrainingConfig):
        spread = config.trainer.distributed
        on_gpu = config.method.head is None
        return Job(artifact.inputs, on_gpu, config.trainer.threads, spread.processes, spread.nodes, modules)
    if isinstance(config, Deployment):
        # With training texts, it runs the model to fit a rotation or ranges, or to measure drift.
        threads = None if "data" in artifact.inputs else 1
        return Job(artifact.inputs, config.made_on_gpu, threads, modules=modules)
    if artifact.kind == "encode":
        deployed = deployments[artifact.inputs["deploy"]]
        assert isinstance(deployed.config, Deployment)
        threads = config.threads if isinstance(config, EncodeConfig) else None
        deployment_modules = registered_modules(deployed)[:1]
        return Job(artifact.inputs, deployed.config.runs_on_gpu, threads, modules=(*deployment_modules, *modules))
    return Job(artifact.inputs, False, None, modules=modules)


def write_outlines(outlines: list[Outline], code: dict[str, str], folder: Path, names: str) -> None:
    """Write outline/<names>.json, for jobs on other machines.

    Args:
        outlines: outlines of the studies.
        code: fingerprint of the code of each stage.
        folder: folder of plans.
        names: names of the studies, as `--config` has them.
    """
    path = outline_file(folder, names)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"studies": [asdict(outline) for outline in outlines], "code": code}), encoding="utf-8")
    new.replace(path)


def read_outlines(folder: Path, names: str) -> tuple[list[Outline], dict[str, str]]:
    """Return the outlines and code fingerprints that `write_outlines` wrote in the workflow that submitted this job."""
    content = read_json(outline_file(folder, names))
    outlines = [
        Outline(
            **values
            | {"jobs": {name: Job(**job | {"modules": tuple(job["modules"])}) for name, job in values["jobs"].items()}}
        )
        for values in content["studies"]
    ]
    return outlines, content["code"]


def outline_file(folder: Path, names: str) -> Path:
    """Return the path of the outlines, which exist if this machine shares files with the one that planned."""
    return folder / "outline" / f"{names}.json"
