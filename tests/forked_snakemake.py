"""Server that runs Snakemake in forks of a process that has imported it, so that no run imports it again.

It reads one JSON object per line from standard input: `folder`, `arguments`, `environment`, and `output`, the file for the output.
It prints one exit code per line. Only libraries are imported in advance; the workflow's code is that of each checkout.
"""

import json
import os
import sys
from typing import Any

import hydra._internal.config_loader_impl  # noqa: F401
import pydantic  # noqa: F401
import snakemake.api
import snakemake.cli
import snakemake.workflow


def run(request: dict[str, Any]) -> None:
    """Run `python -m snakemake` in the folder and exit the process with its exit code."""
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(source, stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    sys.argv = ["snakemake", *request["arguments"]]
    snakemake.cli.main()
    sys.exit(0)


if __name__ == "__main__":
    snakemake.cli.get_argument_parser()  # It imports all plugins of Snakemake, which a process does once.
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
