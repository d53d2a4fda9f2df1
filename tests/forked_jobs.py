"""Server that starts servers of jobs in forks of a process that has imported PyTorch, so that no run of Snakemake imports it again.

Its arguments are the modules to import. It reads one JSON object per line from standard input: `folder`, the working directory of the
workflow; `environment`; `address`, the path of the socket to create; and `stop`, the path of a pipe whose end ends the server of jobs.
It prints one line when jobs can connect and, when the server of jobs has ended, its exit code. Only libraries are imported in advance;
the code of the jobs is that of each checkout.
"""

import gc
import importlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from transformers.conversion_mapping import get_checkpoint_conversion_mapping


def serve(request: dict[str, Any]) -> NoReturn:
    """Serve the jobs of one run as `python -m qatlab.fork_server` does in a checkout, and end this process."""
    os.dup2(os.open(request["stop"], os.O_RDONLY), sys.stdin.fileno())
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[:1] = [request["folder"], str(Path(request["folder"], "workflow"))]
    fork_server = importlib.import_module("qatlab.fork_server")
    address = Path(request["address"])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(request["address"])
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.argv = ["fork_server", str(os.dup(listener.fileno())), str(address.parent)]
    fork_server.main()


if __name__ == "__main__":
    gc.disable()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    get_checkpoint_conversion_mapping("bert")  # compiles patterns, as the server of jobs does
    gc.freeze()
    gc.enable()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            serve(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
