"""Copies of the project with a small study of local files, for tests through real Snakemake."""

import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from conftest import PROJECT
from planted import PLANTED
from qatlab.fork_server import ADDRESS, PRELOADED, PRELOADED_WITH_TORCH, SOCKET

PARTS = ("Snakefile", "workflow", "conf", "envs", "profiles")
NOTHING = "Nothing to be done"
DRY = {"-n", "--report"}  # options of runs without jobs
PATIENCE = 1200  # seconds that a run may take
# Libraries of stages that run once per study, so that its own server does not import them. Tests run many studies with one server.
ONCE_PER_STUDY = (
    "matplotlib.pyplot",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "onnxscript",
    "pandas.io.formats.style",
    "tabulate",
    "transformers.models.bert.modeling_bert",
)
TIMED = ("cost", "search", "pareto")  # tables with timings; all other tables are reproducible

# One thread per job, so that results do not depend on the cores of the machine.
STUDY = """
# @package _global_
defaults:
  - override /data: local
  - override /task: [beir]
  - override /deploy: {deploy}
study:
  name: tiny
  title: A tiny study
  matrix: {{method: {methods}, seed: [0]}}
model: {{name: "{model}", max_seq_length: 32}}
data: {{path: "{files}/pairs.jsonl"}}
task: {{beir: {{path: "{files}/task"}}}}
trainer: {{batch_size: 16, learning_rate: 1.0e-3, threads: 1}}
encode: {{threads: 1}}
evaluate: {{bit_axes: []}}
"""


def copy_project(folder: Path) -> Path:
    """Copy the parts of the project that a study needs to a folder; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        source = PROJECT / name
        if source.is_dir():
            # Compiled modules are copied too, but not the temporary files that become compiled modules.
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.pyc.*"))
        else:
            shutil.copyfile(source, folder / name)
    return folder


def tiny_study(
    folder: Path,
    model: Path,
    files: Path,
    methods: str = "[untrained, baseline]",
    deploy: str = "[torch_fp32, onnx_int8]",
) -> Path:
    """Copy the project to a folder and add the study `tiny` to its conf/; return the folder."""
    copy_project(folder)
    text = STUDY.format(model=model, files=files, methods=methods, deploy=deploy)
    (folder / "conf" / "study" / "tiny.yaml").write_text(text)
    return folder


def same_study(folder: Path, other: Path) -> Path:
    """Copy the project to a folder with the study `tiny` of another copy, but without its results; return the folder."""
    copy_project(folder)
    shutil.copyfile(other / "conf" / "study" / "tiny.yaml", folder / "conf" / "study" / "tiny.yaml")
    return folder


def command(*arguments: str, study: str = "tiny", **config: str) -> list[str]:
    """Return the command that runs Snakemake on a study."""
    settings = [f"{key}={value}" for key, value in config.items() if value]
    return [sys.executable, "-m", "snakemake", *arguments, "--config", f"study={study}", *settings]


def environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """Return the environment of a user with secrets and without network, whose PYTHONPATH does not contain this project."""
    return {**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", **PLANTED, **more}


def snakemake(
    folder: Path, *arguments: str, more: Mapping[str, str] = {}, **config: str
) -> subprocess.CompletedProcess[str]:
    """Run the study; return its exit code and output. It runs in a fork, except with variables that Python reads when it starts."""
    words, variables = command(*arguments, **config), environment(more)
    if not any(name.startswith(("PYTHON", "LC_")) for name in more):
        return forked(folder, words, variables)
    return subprocess.run(
        words,
        cwd=folder,
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
    )


def forked(folder: Path, words: list[str], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a fork of a process that has imported it; return what `subprocess.run` would.

    Args:
        folder: the working directory.
        words: a command like that of `command`, which begins with the Python interpreter that runs Snakemake.
        variables: all environment variables.
    """
    python, arguments = str(words[0]), words[words.index("snakemake") + 1 :]
    with tempfile.NamedTemporaryFile("r") as output, _job_server(python, folder, arguments, variables) as address:
        request = {
            "folder": str(folder),
            "arguments": arguments,
            "environment": {**variables, **address},
            "output": output.name,
        }
        try:
            code = int(_answer(_forking(python, "forked_snakemake.py"), request))
        except TimeoutError as error:
            raise subprocess.TimeoutExpired(words, PATIENCE, output.read()) from error
        return subprocess.CompletedProcess(words, code, output.read())


@cache
def _forking(python: str, file: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that forks, once per test process and interpreter; it ends when its standard input closes."""
    command = [python, str(Path(__file__).with_name(file)), *arguments]
    return subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _answer(server: subprocess.Popen[str], request: Mapping[str, object] | None = None) -> str:
    """Send a request to a process that forks, if there is one, and return the next line that it prints."""
    assert server.stdin is not None
    assert server.stdout is not None
    if request is not None:
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
    if not select.select([server.stdout], [], [], PATIENCE)[0]:
        raise TimeoutError
    return server.stdout.readline().strip()


@contextmanager
def _job_server(
    python: str, folder: Path, arguments: list[str], variables: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Start the server of jobs that a run of Snakemake would start, in a fork; yield the environment variable that names it.

    Nothing is started, so that the run starts its own, for another interpreter and for other environment variables than those of
    `environment`, because libraries read some of them when they are imported. A dry run needs none.
    """
    if python != sys.executable or dict(variables) != environment() or DRY & set(arguments):
        yield {}
        return
    server = _forking(python, "forked_jobs.py", *PRELOADED, *PRELOADED_WITH_TORCH, *ONCE_PER_STUDY)
    scratch = Path(tempfile.mkdtemp(prefix="qatlab-jobs-"))
    stop, address = scratch / "stop", scratch / "served" / SOCKET
    address.parent.mkdir()
    os.mkfifo(stop)
    running = os.open(stop, os.O_RDWR)
    try:
        ready = _answer(
            server,
            {"folder": str(folder), "environment": environment(), "address": str(address), "stop": str(stop)},
        )
        assert ready == "ready", ready
        yield {ADDRESS: str(address)}
    finally:
        os.close(running)
        ended = _answer(server)  # also after an error, so that the next run does not read this answer
        shutil.rmtree(scratch)
    assert ended == "0", ended


@contextmanager
def shared_job_server(folder: Path) -> Iterator[dict[str, str]]:
    """Start one server of jobs for all runs of a copy of the project; yield the environment variables with which they use it.

    Without these variables, a run of `snakemake` would wait for the end of this context, because one server runs at a time.
    """
    with _job_server(sys.executable, folder, [], environment()) as address:
        yield address


def tables(folder: Path) -> dict[str, bytes]:
    """Return the content of the study's tables without timings, keyed by file name."""
    files = (folder / "results" / "studies" / "tiny" / "tables").iterdir()
    return {path.name: path.read_bytes() for path in files if not path.name.startswith(TIMED)}


class Checkout:
    """Copy of the project with the study of one test in its conf/."""

    def __init__(self, folder: Path, study: str, name: str = "tiny") -> None:
        self.folder = copy_project(folder)
        self.name = name
        (folder / "conf" / "study" / f"{name}.yaml").write_text(study)

    def snakemake(
        self, *arguments: str, study: str = "", environment: Mapping[str, str] = {}, **config: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the study, or others, on two cores."""
        return snakemake(self.folder, "--cores", "2", *arguments, more=environment, study=study or self.name, **config)

    def would_run(self, overrides: str = "") -> set[str]:
        """Return the rules that a dry run lists."""
        result = self.snakemake("-n", overrides=overrides)
        assert result.returncode == 0, result.stdout
        if NOTHING in result.stdout:
            return set()
        counts = re.search(r"^\d+ jobs: (.*)$", result.stdout, re.MULTILINE)
        assert counts, result.stdout
        return {part.split()[1] for part in counts.group(1).split(", ")} - {"all"}

    def tables(self) -> Path:
        """Return the folder of the study's tables."""
        return self.folder / "results" / "studies" / self.name / "tables"

    def files(self) -> dict[str, int]:
        """Return all results with the time of their last change in ns, keyed by path."""
        results = self.folder / "results"
        return {str(p.relative_to(results)): p.stat().st_mtime_ns for p in results.rglob("*") if p.is_file()}
