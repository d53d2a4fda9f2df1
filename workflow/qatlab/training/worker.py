"""Process of a distributed training, which `qatlab.training.launch` starts by `python -m qatlab.training.worker FOLDER`."""

import importlib
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

from qatlab import progress
from qatlab.artifact import read_json, write_json
from qatlab.errors import Stopped, UserError, full
from qatlab.fork_server import WORKER, run_in_server
from qatlab.job import JobDescription
from qatlab.training.worker_folder import MESSAGES, TASK, VARIABLE, report_of

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
