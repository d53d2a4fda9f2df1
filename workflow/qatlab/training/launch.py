"""Starts the processes of a distributed training by PyTorch's own launcher (torchrun's), and reports for them.

Each process runs `python -m qatlab.training.launch FOLDER`. They leave what became of them in a folder of their node; what
the first one prints, it leaves there too, and the launcher prints it. The launcher runs beside the main thread, which has
Python's signals: it leaves a signal to end in the folder, and the processes save their step and end by themselves.
"""

import importlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from qatlab import progress
from qatlab.artifact import read_json, write_json
from qatlab.config.trainer import DistributedConfig
from qatlab.errors import Stopped, UserError, full
from qatlab.fork_server import WORKER, run_in_server, share_with_children
from qatlab.job import JobDescription
from qatlab.machine.processes import MESSAGES, SIGNAL, TASK, VARIABLE, is_repeated_interrupt, report_of
from qatlab.progress import say

# Rank of this machine among the nodes of a training, and the address of the first node.
#
# Slurm sets both in the environment of the commands that srun starts. Other launchers that start the command on each node set the
# variables of PyTorch's own launchers: NODE_RANK, MASTER_ADDR and MASTER_PORT.

FIRST_PORT, PORTS = 20_000, 10_000  # the ports 20,000 to 29,999, below the ephemeral ports of operating systems
SLURM = ("SLURM_JOB_ID", "SLURM_NODEID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_NODES", "SLURM_STEP_NUM_TASKS")
VARIABLES = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Node:
    """A node of a distributed training: its rank, and the address and port at which all nodes reach the first one (rank 0)."""

    rank: int
    address: str
    port: int


ALONE = Node(0, "localhost", 0)


def this_node(nodes: int) -> Node:
    """Return the node that this machine is, as the environment describes it.

    Args:
        nodes: Number of nodes of the training.

    Raises:
        UserError: If the environment does not contain the rank, or describes another number of nodes.
    """
    if nodes == 1:
        return ALONE
    if any(name in os.environ for name in VARIABLES):
        return _from_variables(nodes)
    if all(name in os.environ for name in SLURM):
        return _from_slurm(nodes)
    raise UserError(
        f"trainer.distributed.nodes={nodes}: start the command on each node by {_srun(nodes)} in a Slurm job, "
        f"or with {', '.join(VARIABLES)} set"
    )


def _from_variables(nodes: int) -> Node:
    values = {name: os.environ.get(name, "") for name in VARIABLES}
    rank, address, port = values.values()
    if not (address and rank.isdecimal() and port.isdecimal() and int(rank) < nodes):
        settings = ", ".join(f"{name}='{value}'" for name, value in values.items())
        raise UserError(
            f"{settings}: trainer.distributed.nodes={nodes} requires a rank from 0 to {nodes - 1}, the address of the first node, "
            "and a port that is free there; set all three variables"
        )
    return Node(int(rank), address, int(port))


def _from_slurm(nodes: int) -> Node:
    job, rank, hosts, step_nodes, tasks = (os.environ[name] for name in SLURM)
    if int(step_nodes) != nodes or int(tasks) != nodes:
        raise UserError(
            f"trainer.distributed.nodes={nodes}, but this step of Slurm has {step_nodes} nodes and {tasks} tasks; start it by "
            f"{_srun(nodes)}"
        )
    first = _scontrol("hostnames", hosts).split()[0]
    address = dict(word.partition("=")[::2] for word in _scontrol("node", first).split())["NodeAddr"]
    return Node(int(rank), address, FIRST_PORT + int(job) % PORTS)


def _scontrol(entity: str, name: str) -> str:
    return subprocess.run(["scontrol", "show", entity, name], capture_output=True, text=True, check=True).stdout


def _srun(nodes: int) -> str:
    return f"`srun --nodes={nodes} --ntasks-per-node=1`"


SECONDS = 0.2  # seconds between two reads of the messages
JOINING_SECONDS = 600  # seconds that nodes wait for one another
PATIENCE = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "5"}  # seconds that the other processes have to end after one has failed


def launch(
    stage: str,
    description: JobDescription,
    inputs: dict[str, Path],
    output: Path,
    threads: int | None,
    node: Node = ALONE,
) -> None:
    """Run a training stage in the processes of this node, and return when they have ended.

    Args:
        stage: name of the stage, whose `run` receives the following four arguments.
        description: description of the job.
        inputs: artifacts by role.
        output: folder to write; only the first process of all nodes writes to it.
        threads: number of CPU threads of this node; None for all.
        node: the rank of this node, and the address of the first node.

    Raises:
        UserError, Stopped: if one of the processes raised it.
        RuntimeError: if one of the processes raised another error, with its traceback.
    """
    from qatlab.machine.hardware import claim_gpus, visible_gpus

    distributed = DistributedConfig.model_validate(description.config["trainer"]["distributed"])
    claim_gpus(visible_gpus(), distributed.processes)
    share_with_children()
    with tempfile.TemporaryDirectory(prefix="qatlab-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        task = {
            "stage": stage,
            "description": description.model_dump(mode="json"),
            "inputs": {role: str(path) for role, path in inputs.items()},
            "output": str(output),
            "threads": threads,
        }
        write_json(folder / TASK, task)
        launcher = _Launcher(distributed, node, folder)
        with _signals_written_to(folder / SIGNAL):
            _wait(launcher, folder / MESSAGES)
        _raise_errors(launcher, folder, distributed)


class _Launcher(threading.Thread):
    """PyTorch's launcher in a thread; in the main thread, it would handle the signals and kill the processes."""

    def __init__(self, distributed: DistributedConfig, node: Node, folder: Path) -> None:
        super().__init__(daemon=True)
        self.distributed, self.node, self.folder = distributed, node, folder
        self.error: BaseException | None = None
        self.exits: dict[int, int] = {}

    def run(self) -> None:
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        _quiet()
        os.environ.update(PATIENCE)
        alone = self.distributed.nodes == 1
        # One node finds a free port by itself. Of several nodes, the first must be known beforehand, because only it writes the output.
        config = LaunchConfig(
            min_nodes=self.distributed.nodes,
            max_nodes=self.distributed.nodes,
            nproc_per_node=self.distributed.processes,
            run_id="qatlab",
            max_restarts=0,
            monitor_interval=SECONDS,
            local_addr="localhost" if alone else None,
            rdzv_configs={"timeout": JOINING_SECONDS} | ({} if alone else {"rank": self.node.rank}),
            logs_specs=DefaultLogsSpecs(log_dir=str(self.folder / "torchrun")),
            rdzv_backend="c10d" if alone else "static",
            rdzv_endpoint="localhost:0" if alone else f"{self.node.address}:{self.node.port}",
        )
        try:
            elastic_launch(config, sys.executable)("-m", "qatlab.training.launch", str(self.folder))
        except ChildFailedError as error:
            self.exits = {rank: failure.exitcode for rank, failure in error.failures.items()}
        except BaseException as error:
            self.error = error


def _quiet() -> None:
    """Silence the launcher's log of failures, which the reports of the processes describe better."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _signals_written_to(file: Path) -> Iterator[None]:
    """Write SIGTERM and SIGINT to a file; a second Ctrl-C ends this process, which the other processes notice."""
    received: list[float] = []

    def write(number: int, frame: FrameType | None) -> None:
        if received:
            if is_repeated_interrupt(number, received[0]):
                raise KeyboardInterrupt
            return
        received.append(time.monotonic())
        aside = file.with_suffix(".partial")
        aside.write_text(str(number))
        aside.replace(file)

    before = {number: signal.signal(number, write) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(launcher: _Launcher, messages: Path) -> None:
    """Wait until the processes have ended, and print the messages of the first process meanwhile."""
    messages.touch()
    with messages.open(encoding="utf-8") as stream:
        launcher.start()
        ended = False
        while not ended:
            launcher.join(SECONDS)
            ended = not launcher.is_alive()  # It is checked before the last read, so that no message is lost.
            for line in stream:
                say(line.rstrip("\n"))


def _raise_errors(launcher: _Launcher, folder: Path, distributed: DistributedConfig) -> None:
    """Raise the error of a process: a user's mistake before any other, and never an error that only followed from another."""
    reports = sorted((read_json(path) for path in folder.glob("rank-*.json")), key=lambda report: report["when"])
    by_kind = {report["kind"]: report for report in reversed(reports)}  # the earliest report of each kind
    if "user" in by_kind:
        raise UserError(by_kind["user"]["message"])
    if "stopped" in by_kind:
        raise Stopped(by_kind["stopped"]["message"], by_kind["stopped"]["signal"])
    silent = [rank for rank in launcher.exits if not (folder / report_of(rank)).exists()]
    if silent:
        _raise_for_silent(silent[0], launcher.exits[silent[0]], folder, distributed)
    if "error" in by_kind:
        failed = by_kind["error"]
        raise RuntimeError(f"process {failed['rank']} of {distributed.in_all} failed:\n{failed['message']}")
    if launcher.error is not None:
        _explain(launcher.error, distributed)


def _raise_for_silent(rank: int, code: int, folder: Path, distributed: DistributedConfig) -> None:
    """Raise an error for a process that ended without a report."""
    if (folder / SIGNAL).exists():
        raise Stopped("stopped before its first step", int((folder / SIGNAL).read_text()))
    how = f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
    hint = "; unless someone did it, memory was exhausted" if code == -signal.SIGKILL else ""
    raise UserError(f"process {rank} of {distributed.in_all} {how} from outside{hint}")


def _explain(error: BaseException, distributed: DistributedConfig) -> None:
    from torch.distributed import DistError

    if distributed.nodes > 1 and isinstance(error, DistError | TimeoutError):
        raise UserError(
            f"the {distributed.nodes} nodes did not connect to one another within {JOINING_SECONDS} seconds ({error}); start the command "
            "on all of them, and have the first one's MASTER_PORT open to the others"
        ) from error
    raise error


PARENT_SECONDS = 1.0


def main(folder: Path) -> int:
    """Run the stage and return the exit code; an error is written to the folder, for the launcher."""
    os.environ[VARIABLE] = str(folder)
    rank = int(os.environ["RANK"])
    task = read_json(folder / TASK)
    progress.redirect_messages(folder / MESSAGES if rank == 0 else None)
    output = Path(task["output"])
    try:
        stage = importlib.import_module(f"qatlab.stages.{task['stage']}")
        inputs = {role: Path(path) for role, path in task["inputs"].items()}
        stage.run(JobDescription.model_validate(task["description"]), inputs, output, task["threads"])
    except Stopped as stopped:
        _write_report(folder, rank, {"kind": "stopped", "message": str(stopped), "signal": stopped.signal})
    except BaseException as error:
        known = error if isinstance(error, UserError) else full(error, output)
        message = str(known) if known else "".join(traceback.format_exception(error))
        _write_report(folder, rank, {"kind": "user" if known else "error", "message": message})
        return 1
    return 0


def _write_report(folder: Path, rank: int, report: dict[str, object]) -> None:
    aside = folder / f"rank-{rank}.partial"
    write_json(aside, {"rank": rank, "when": time.time(), **report})
    aside.replace(folder / report_of(rank))


def _end_with(parent: int) -> None:
    """End this process when its launcher has ended, however that happened."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def run_and_exit(folder: Path) -> NoReturn:
    """Run the stage and end this process; the process also ends when its parent does."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _exit(main(folder))


def _exit(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Freeing a gloo group can deadlock: it waits for its thread while holding Python's lock, which that thread may need.
    os._exit(code)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    forked = run_in_server(
        [WORKER, sys.argv[1]]
    )  # When the launcher ends, the connection closes, and the forked process ends.
    _exit(main(Path(sys.argv[1])) if forked is None else forked)
