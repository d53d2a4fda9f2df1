"""Starts the processes of a distributed training by PyTorch's own launcher (torchrun's), and speaks and answers for them.

Each process runs `qatlab.training.worker`. They leave what became of them in a folder of their node; what the first one has to
say to the person at the terminal, it leaves there too, and here it is said. The launcher runs beside the main thread, which
has Python's signals: told to end, it leaves the signal in the folder, and the processes save their step and end by themselves.
"""

import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from qatlab.artifact import read_json, write_json
from qatlab.config.trainer import DistributedConfig
from qatlab.errors import Stopped, UserError
from qatlab.fork_server import open_to_workers
from qatlab.job import JobDescription
from qatlab.machine.nodes import ALONE, Node
from qatlab.progress import say
from qatlab.training.ending import insists
from qatlab.training.worker_folder import SAID, TASK, TOLD, report_of

SECONDS = 0.2  # between two looks at what the processes say
JOINING_SECONDS = 600  # that nodes wait for one another
PATIENCE = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "5"}  # seconds that processes have, when one of them has failed


def launch(
    stage: str,
    description: JobDescription,
    inputs: dict[str, Path],
    output: Path,
    threads: int | None,
    node: Node = ALONE,
) -> None:
    """Runs a training stage in the processes of this node, and returns when they have done it.

    Args:
        stage, description, inputs, output, threads: as the stage's own `run` takes them; the first process of all writes.
        node: which one this is.

    Raises:
        UserError, Stopped: as one of the processes did.
        RuntimeError: for anything else that ended one of them, with its traceback.
    """
    from qatlab.machine.gpu import claim_gpus, visible_gpus

    distributed = DistributedConfig.model_validate(description.config["trainer"]["distributed"])
    claim_gpus(visible_gpus(), distributed.processes)
    open_to_workers()
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
        with _left_in(folder / TOLD):
            _wait(launcher, folder / SAID)
        _answer(launcher, folder, distributed)


class _Launcher(threading.Thread):
    """torchrun's launcher, in a thread: in the main one it would take the signals and kill what it has started."""

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
        # One machine finds a free port by itself. Of several, the first must be known beforehand: it alone makes the output.
        found: dict[str, Any] = (
            {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
            if alone
            else {"rdzv_backend": "static", "rdzv_endpoint": f"{self.node.address}:{self.node.port}"}
        )
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
            **found,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "qatlab.training.worker", str(self.folder))
        except ChildFailedError as error:
            self.exits = {rank: failure.exitcode for rank, failure in error.failures.items()}
        except BaseException as error:
            self.error = error


def _quiet() -> None:
    """What the launcher logs of a failure, a process has said better."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _left_in(file: Path) -> Iterator[None]:
    """While open, SIGTERM and SIGINT are written to a file; a person's second Ctrl-C ends this process, and the others see that."""
    told: list[float] = []

    def leave(number: int, frame: FrameType | None) -> None:
        if told:
            if insists(number, told[0]):
                raise KeyboardInterrupt
            return
        told.append(time.monotonic())
        aside = file.with_suffix(".partial")
        aside.write_text(str(number))
        aside.replace(file)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(launcher: _Launcher, said: Path) -> None:
    """Until the processes have ended; meanwhile, says what the first one says."""
    said.touch()
    with said.open(encoding="utf-8") as stream:
        launcher.start()
        ended = False
        while not ended:
            launcher.join(SECONDS)
            ended = not launcher.is_alive()  # before the last look
            for line in stream:
                say(line.rstrip("\n"))


def _answer(launcher: _Launcher, folder: Path, distributed: DistributedConfig) -> None:
    """Raises what a process has raised: what a person can mend before all else, and never what only followed from another's."""
    reports = sorted((read_json(path) for path in folder.glob("rank-*.json")), key=lambda report: report["when"])
    by_kind = {report["kind"]: report for report in reversed(reports)}  # the earliest of each
    if "user" in by_kind:
        raise UserError(by_kind["user"]["message"])
    if "stopped" in by_kind:
        raise Stopped(by_kind["stopped"]["message"], by_kind["stopped"]["signal"])
    silent = [rank for rank in launcher.exits if not (folder / report_of(rank)).exists()]
    if silent:
        _of_the_silent(silent[0], launcher.exits[silent[0]], folder, distributed)
    if "error" in by_kind:
        failed = by_kind["error"]
        raise RuntimeError(f"process {failed['rank']} of {distributed.in_all} failed:\n{failed['message']}")
    if launcher.error is not None:
        _explain(launcher.error, distributed)


def _of_the_silent(rank: int, code: int, folder: Path, distributed: DistributedConfig) -> None:
    """Of a process that ended and left no reason."""
    if (folder / TOLD).exists():
        raise Stopped("stopped before its first step", int((folder / TOLD).read_text()))
    how = f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
    hint = "; too little memory, if nobody did it" if code == -signal.SIGKILL else ""
    raise UserError(f"process {rank} of {distributed.in_all} {how} from outside{hint}")


def _explain(error: BaseException, distributed: DistributedConfig) -> None:
    from torch.distributed import DistError

    if distributed.nodes > 1 and isinstance(error, DistError | TimeoutError):
        raise UserError(
            f"the {distributed.nodes} nodes did not find one another within {JOINING_SECONDS} seconds ({error}); start the command "
            "on all of them, and have the first one's MASTER_PORT open to the others"
        ) from error
    raise error
