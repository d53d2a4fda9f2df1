"""Runs Snakemake in forks of a process that has imported it, so that each run need not import it anew.

Read from standard input, a JSON object per line: `folder`, `arguments`, `environment`, `output` (the file that takes what is printed).
Printed: the exit code, a line each. Only libraries are imported ahead: the workflow's own code is that of each checkout.
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
    """Become what `python -m snakemake` is in the folder; raises SystemExit at the end."""
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
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
