"""Server that runs Snakemake in forks of a process that has imported it, so that no run imports it again.

It reads one JSON object per line from standard input: `folder`, `arguments`, `environment`, and `output`, the file for the output.
It prints one exit code per line. Only libraries are imported in advance; the workflow's code is that of each checkout.
"""

import atexit
import gc
import importlib
import json
import os
import sys
import threading
from typing import Any

import snakemake.cli

# What a run imports, apart from the workflow.
LIBRARIES = (
    "hydra._internal.config_loader_impl",
    "hydra._internal.core_plugins.file_config_source",
    "ml_dtypes",
    "omegaconf._impl",
    "pyarrow.parquet",
    "pydantic",
    "safetensors",
    "smart_open",
    "snakemake.api",
    "snakemake.storage",
    "snakemake.workflow",
    "xml.etree.ElementTree",
)


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
    code = 0
    try:
        snakemake.cli.main()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        code = end.code
    # Python would also free all objects, and so copy the memory that this process shares with its parent.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    snakemake.cli.get_argument_parser()  # It imports all plugins of Snakemake, which a process does once.
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
