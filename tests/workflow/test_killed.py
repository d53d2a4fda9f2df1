"""Workflows and jobs killed at random moments of every stage: the same command resumes and yields the same tables, byte for byte.

QATLAB_KILLS says how many (`make chaos`: 66), QATLAB_KILLS_SEED which; CHAOS names a file for the results.
"""

import csv
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from checkouts import NOTHING, command, environment, same_study, shared_job_server, snakemake, tables

pytestmark = pytest.mark.slow(150)

KILLS = int(os.environ.get("QATLAB_KILLS", "8"))
SEED = int(os.environ.get("QATLAB_KILLS_SEED", "0"))
STAGES = ("model", "data", "task", "train", "deploy", "encode", "score", "drift", "tables", "plots", "models")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# The workflow alone (its jobs continue), one of its jobs, or both, as Ctrl-C in a terminal or a power cut.
VICTIMS = ("workflow", "job", "both")
EVERY_STEP = {"QATLAB_CHECKPOINT_SECONDS": "0"}
ENOUGH = 240  # seconds that a workflow may take to end


def running_job(workflow: psutil.Process, stage: str) -> psutil.Process | None:
    """The Python process of a stage below a workflow."""
    try:
        for process in workflow.children(recursive=True):
            words = process.cmdline()
            if words[1:4] == ["-m", "qatlab", stage]:
                return process
    except psutil.NoSuchProcess:
        pass
    return None


def hear_interrupts() -> None:
    """As a command in a terminal does; what a shell starts in the background is born deaf to SIGINT, with all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill(
    folder: Path, stage: str, victim: str, number: signal.Signals, after: float, variables: Mapping[str, str]
) -> str:
    """Starts the study and kills it some time after a job of the stage has begun; whether that ran still."""
    arguments = ["--cores", "2", "--forcerun", stage]  # which changes nothing for jobs that are pending
    with (folder / "screen.txt").open("w") as screen:
        started = subprocess.Popen(
            command(*arguments),
            cwd=folder,
            env=environment({**EVERY_STEP, **variables}),
            stdout=screen,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=hear_interrupts,
        )
    workflow = psutil.Process(started.pid)
    job = None
    while started.poll() is None and job is None:
        job = running_job(workflow, stage)
        time.sleep(0.01)
    assert job is not None, f"no {stage} began: {(folder / 'screen.txt').read_text()}"
    time.sleep(after)
    alive = job.is_running() and job.status() != psutil.STATUS_ZOMBIE
    try:
        if victim == "both":
            os.killpg(started.pid, number)
        else:
            (workflow if victim == "workflow" else job).send_signal(number)
    except (psutil.NoSuchProcess, ProcessLookupError):
        alive = False
    started.wait(ENOUGH)
    return "running" if alive else "just ended"


def durations(folder: Path) -> dict[str, float]:
    """Seconds that the longest job of each stage took, as Snakemake wrote them down."""
    seconds: dict[str, float] = {}
    for file in (folder / ".snakemake" / "metadata").rglob("*"):
        if file.is_file():
            measured = json.loads(file.read_text())
            took = measured["endtime"] - measured["starttime"]
            seconds[measured["rule"]] = max(seconds.get(measured["rule"], 0), took)
    return seconds


def kills(seconds: dict[str, float]) -> list[tuple[str, str, signal.Signals, float]]:
    """As many of each stage as can be, in the order of stages, at any moment of a job or just after it; seeded."""
    choose = random.Random(SEED)
    stages = sorted(
        (STAGES * KILLS)[:KILLS] if len(STAGES) <= KILLS else choose.sample(STAGES, KILLS), key=STAGES.index
    )
    ways = [(victim, number) for victim in VICTIMS for number in SIGNALS]
    choose.shuffle(ways)
    return [(stage, *ways[i % len(ways)], choose.uniform(0, 1.1 * seconds[stage])) for i, stage in enumerate(stages)]


def test_killed_workflows_and_jobs_end_with_the_tables_of_an_undisturbed_one(undisturbed, tmp_path):
    folder = same_study(tmp_path, undisturbed)
    rows = []
    # With `make chaos`, each workflow starts its own server of jobs, which imports PyTorch, and ends with it.
    with nullcontext({}) if "CHAOS" in os.environ else shared_job_server(folder) as variables:
        for stage, victim, number, after in kills(durations(undisturbed)):
            when = kill(folder, stage, victim, number, after, variables)
            rows.append({"stage": stage, "victim": victim, "signal": number.name, "job": when})
    result = snakemake(folder, "--cores", "2")
    assert result.returncode == 0, result.stdout
    assert tables(folder) == tables(undisturbed)
    assert NOTHING in snakemake(folder, "-n", "--cores", "2").stdout
    left = [str(path) for path in (folder / "results").rglob(".*") if path.suffix in (".partial", ".checkpoints")]
    assert left == []
    if file := os.environ.get("CHAOS"):
        kinds = Counter((row["stage"], row["victim"], row["signal"], row["job"]) for row in rows)
        with Path(file).open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["stage", "victim", "signal", "job", "kills survived"])
            writer.writerows([*kind, count] for kind, count in kinds.items())


INTERRUPTED = """
import os, signal, sys
import snakemake.cli
from snakemake.scheduling.job_scheduler import JobScheduler

finish = JobScheduler._finish_jobs

def interrupted(scheduler):
    if scheduler._tofinish:
        os.kill(os.getpid(), signal.SIGTERM)
    finish(scheduler)

JobScheduler._finish_jobs = interrupted
sys.argv[0] = "snakemake"
snakemake.cli.main()
"""


def test_a_workflow_that_is_terminated_while_it_finishes_a_job_ends(undisturbed, tmp_path):
    folder = same_study(tmp_path, undisturbed)
    python, _, _, *arguments = command("--cores", "1")
    result = subprocess.run(
        [python, "-c", INTERRUPTED, *arguments],
        cwd=folder,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=ENOUGH,
    )
    assert result.returncode == 1
    assert not (folder / "results" / "studies" / "tiny" / "tables").exists()


def test_a_second_workflow_on_the_same_results_refuses_in_one_line(undisturbed, tmp_path):
    folder = same_study(tmp_path, undisturbed)
    with shared_job_server(folder) as variables:
        with (folder / "screen.txt").open("w") as screen:
            first = subprocess.Popen(
                command("--cores", "2"),
                cwd=folder,
                env=environment(variables),
                stdout=screen,
                stderr=subprocess.STDOUT,
            )
        while not (folder / "results" / "logs").exists():
            assert first.poll() is None, (folder / "screen.txt").read_text()
            time.sleep(0.05)
        second = snakemake(folder, "--cores", "2", more=variables)
        assert second.returncode != 0
        (line,) = [line for line in second.stdout.splitlines() if line.startswith("error: ")]
        assert line.startswith("error: another workflow writes the same files in this folder; wait for it, or stop it")
        assert first.wait(ENOUGH) == 0, (folder / "screen.txt").read_text()
    assert tables(folder) == tables(undisturbed)
