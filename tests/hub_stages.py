"""Server that runs stages with a hub on loopback, each in a fork of one process, which has imported the libraries once.

huggingface_hub reads the address of the hub and the folder of its cache when it is imported, so a server has one of each.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Source code of the server. It reads one JSON list per line, that is per job, from standard input: the arguments of its commands, which
# run one after the other, and the files for their output. It prints one exit code per line. Waits are shortened to 10 ms.
SERVER = """
import importlib, json, os, sys, time
for module in sys.argv[1:]:
    importlib.import_module(module)
from qatlab.__main__ import main
sleep = time.sleep
for line in sys.stdin:
    commands, *files = json.loads(line)
    child = os.fork()
    if child == 0:
        for stream, file in enumerate(files, start=1):
            os.dup2(os.open(file, os.O_WRONLY), stream)
        time.sleep = lambda seconds: sleep(min(seconds, 0.01))
        for command in commands:
            if code := main(command):
                sys.exit(code)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
PATIENCE = 300  # seconds that a job may take
Run = Callable[..., subprocess.CompletedProcess[str]]


def variables(address: str, home: Path) -> dict[str, str]:
    """Return the environment variables of a process that uses the hub at an address."""
    return {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}


@contextmanager
def forked_stages(address: str, home: Path, *modules: str) -> Iterator[Run]:
    """Start the server; yield a function that runs commands until one fails, and returns what `subprocess.run` would.

    Each command is a list of arguments.

    Args:
        address: URL of the hub.
        home: the folder of huggingface_hub's cache.
        modules: names of the modules that the server imports in advance.
    """
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, *modules],
        env=variables(address, home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        to_server, from_server = server.stdin, server.stdout

        def run(*commands: list[str]) -> subprocess.CompletedProcess[str]:
            with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
                to_server.write(json.dumps([commands, output.name, errors.name]) + "\n")
                to_server.flush()
                if not select.select([from_server], [], [], PATIENCE)[0]:
                    raise subprocess.TimeoutExpired(commands, PATIENCE, output.read(), errors.read())
                code = int(from_server.readline())
                return subprocess.CompletedProcess(commands, code, output.read(), errors.read())

        yield run
